// Ed25519 keys out of PEM files (RFC 8410, as `openssl genpkey -algorithm ed25519` and `openssl
// pkey -pubout` write them).
#ifndef POSTERN_SERVICES_IDENTITY_TOKEN_KEYS_H_
#define POSTERN_SERVICES_IDENTITY_TOKEN_KEYS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "openssl/evp.h"

namespace postern::identity {

struct TokenKey {
  // First 8 octets of the SHA-256 of the raw public key.
  std::string id;
  std::shared_ptr<EVP_PKEY> key;
};

// What is signed: this, then the claims. No other use of the key can be taken for a token.
inline constexpr absl::string_view kTokenSignaturePrefix("postern.token.v1\0", 17);

// INVALID_ARGUMENT names `file`.
absl::StatusOr<TokenKey> ReadTokenSigningKey(absl::string_view file);
// One to 16 public keys; anything else between or after them is an error, so that a cut file is
// never half taken.
absl::StatusOr<std::vector<TokenKey>> ReadTokenVerificationKeys(absl::string_view file);

}  // namespace postern::identity

#endif  // POSTERN_SERVICES_IDENTITY_TOKEN_KEYS_H_
