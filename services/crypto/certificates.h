// X.509 certificates out of PEM (RFC 7468 5).
#ifndef POSTERN_SERVICES_CRYPTO_CERTIFICATES_H_
#define POSTERN_SERVICES_CRYPTO_CERTIFICATES_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct x509_st;

namespace postern::crypto {

struct FreeCertificate {
  void operator()(x509_st* certificate) const;
};
using Certificate = std::unique_ptr<x509_st, FreeCertificate>;

// Every certificate of a text, at least one. INVALID_ARGUMENT, to go on after "holds": "a broken
// certificate: ..." or "no PEM certificate". Leaves OpenSSL's error queue empty.
absl::StatusOr<std::vector<Certificate>> ReadCertificates(absl::string_view pem);

}  // namespace postern::crypto

#endif  // POSTERN_SERVICES_CRYPTO_CERTIFICATES_H_
