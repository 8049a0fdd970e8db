// A security domain: certificate, key and TLS settings for listeners. Read again when the files
// change.
#ifndef POSTERN_SERVICES_NET_TLS_PROFILE_H_
#define POSTERN_SERVICES_NET_TLS_PROFILE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

typedef struct ssl_ctx_st SSL_CTX;

namespace postern::net {

// Thread-safe. TLS 1.2 and 1.3, no renegotiation, no compression, session tickets,
// SSL_MODE_RELEASE_BUFFERS.
class TlsProfile {
 public:
  // INVALID_ARGUMENT names the file at fault: absent, no PEM, a key that is not the certificate's,
  // an expired leaf is only logged.
  // `request_client_certificates`: whatever a client shows is taken, and judged by who reads it.
  static absl::StatusOr<std::shared_ptr<TlsProfile>> Load(absl::string_view name,
                                                          absl::string_view certificate_file,
                                                          absl::string_view private_key_file,
                                                          bool request_client_certificates = false);
  virtual ~TlsProfile() = default;

  // The context of now, for one new session; the caller holds a reference (SSL_CTX_up_ref / SSL_new
  // does).
  virtual std::shared_ptr<SSL_CTX> context() const = 0;
};

}  // namespace postern::net

#endif  // POSTERN_SERVICES_NET_TLS_PROFILE_H_
