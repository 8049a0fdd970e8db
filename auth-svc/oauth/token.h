// A bearer token taken apart: a JWT (RFC 7519) in a compact JWS (RFC 7515).
#ifndef POSTERN_AUTH_SVC_OAUTH_TOKEN_H_
#define POSTERN_AUTH_SVC_OAUTH_TOKEN_H_

#include <cjose/jwk.h>

#include <cstddef>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "auth-svc/oauth/json.h"

namespace postern::auth::oauth {

// One of RFC 7518 3.1, with a private key on the issuer's side alone.
struct Algorithm {
  const char* name;
  cjose_jwk_kty_t key_type;
  // Of an EC key.
  cjose_jwk_ec_curve curve;
  // Of the signature; 0: as many as the key's.
  size_t signature_octets;
};

// Null: none of those that we take.
const Algorithm* FindAlgorithm(absl::string_view name);

// What it says, of which nothing is proven.
struct Token {
  absl::string_view text;
  const Algorithm* algorithm = nullptr;
  // "kid"
  std::optional<std::string> key_id;
  Json claims;
};

// `text` must outlive what is returned. UNAUTHENTICATED: why it is none that we take.
absl::StatusOr<Token> ReadToken(absl::string_view text);

// What somebody else wrote, for a sentence: in quotes, escaped, cut.
std::string Quoted(absl::string_view text);

}  // namespace postern::auth::oauth

#endif  // POSTERN_AUTH_SVC_OAUTH_TOKEN_H_
