// The three files of mutual TLS, read and judged.
#ifndef POSTERN_SERVICES_IDENTITY_MUTUAL_TLS_FILES_H_
#define POSTERN_SERVICES_IDENTITY_MUTUAL_TLS_FILES_H_

#include <string>

#include "absl/status/statusor.h"
#include "proto/postern/config/v1/process.pb.h"

namespace postern::identity {

// PEM as OpenSSL wrote it again after reading: nothing in it that gRPC could stumble over.
struct MutualTlsPem {
  // The private key, then the chain, leaf first.
  std::string key_and_chain;
  std::string ca;

  bool operator==(const MutualTlsPem&) const = default;
};

// INVALID_ARGUMENT names the setting and the file: absent, not PEM, a key with a passphrase or of
// another certificate, or too weak for OpenSSL's security level.
absl::StatusOr<MutualTlsPem> LoadMutualTls(const config::v1::MutualTls& tls);

}  // namespace postern::identity

#endif  // POSTERN_SERVICES_IDENTITY_MUTUAL_TLS_FILES_H_
