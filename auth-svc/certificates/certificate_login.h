// Logins by a TLS client certificate (SASL's EXTERNAL): of who has its address.
#ifndef POSTERN_AUTH_SVC_CERTIFICATES_CERTIFICATE_LOGIN_H_
#define POSTERN_AUTH_SVC_CERTIFICATES_CERTIFICATE_LOGIN_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "auth-svc/domain/vouched_login.h"
#include "services/protocol/sasl/sasl.h"

namespace postern::auth::certificates {

// The addresses (rfc822Name of RFC 5280 4.2.1.6) of a certificate that a CA of its file has signed
// for client authentication. Thread-safe. The file is read again when it changes; a broken new file
// keeps the old CAs and logs an error.
class CertificateVerifier {
 public:
  // INVALID_ARGUMENT names the file.
  static absl::StatusOr<std::unique_ptr<CertificateVerifier>> Open(const std::string& ca_file);
  virtual ~CertificateVerifier() = default;

  struct Verified {
    // At least one.
    std::vector<std::string> addresses;
    // Its serial number in hexadecimal digits, for the log.
    std::string serial;
  };
  // `certificates`: DER, the client's own first. UNAUTHENTICATED: a sentence for the log.
  virtual absl::StatusOr<Verified> Verify(absl::Span<const std::string> certificates) = 0;
};

// Thread-safe. What it is given must outlive it.
class CertificateLogin {
 public:
  // `verifier` null: nobody logs in so.
  CertificateLogin(std::unique_ptr<CertificateVerifier> verifier, VouchedLogin& logins)
      : verifier_(std::move(verifier)), logins_(logins) {}

  // As VouchedLogin's.
  void LogIn(const sasl::External& named, std::vector<std::string> certificates,
             std::string network, VouchedLogin::Done done);

 private:
  absl::StatusOr<Vouched> Verify(absl::Span<const std::string> certificates) const;

  const std::unique_ptr<CertificateVerifier> verifier_;
  VouchedLogin& logins_;
};

}  // namespace postern::auth::certificates

#endif  // POSTERN_AUTH_SVC_CERTIFICATES_CERTIFICATE_LOGIN_H_
