// Tokens: auth-svc signs, store-svc and relay-svc verify; gateways carry them. Ed25519, bound to
// account, mailbox, purpose, gateway identity, client session and expiry.
#ifndef POSTERN_SERVICES_IDENTITY_TOKEN_H_
#define POSTERN_SERVICES_IDENTITY_TOKEN_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "proto/postern/token/v1/token.pb.h"

namespace postern::identity {

// Thread-safe. The key file is read again when it changes; a broken new file keeps the old key and
// logs an error.
class TokenSigner {
 public:
  static absl::StatusOr<std::unique_ptr<TokenSigner>> Open(absl::string_view private_key_file);
  virtual ~TokenSigner() = default;
  // A serialized SignedToken in URL-safe base64 without padding: requests carry it as a string.
  virtual std::string Sign(const token::v1::Claims& claims) const = 0;
  // A secret that all who hold the key have in common, one for each `purpose`: 32 octets. Another
  // when the key is another.
  virtual std::string Secret(absl::string_view purpose) const = 0;
};

// Thread-safe. The keys file is read again when it changes; a broken new file keeps the old keys
// and logs an error.
class TokenVerifier {
 public:
  static absl::StatusOr<std::unique_ptr<TokenVerifier>> Open(absl::string_view public_keys_file);
  virtual ~TokenVerifier() = default;

  // What the call at hand must match.
  struct Expected {
    auth::v1::Purpose purpose;
    absl::string_view gateway;        // CallerIdentity()
    absl::string_view session_nonce;  // from the request
    // A live lease that must not mind expiry says absl::InfinitePast().
    absl::Time now;
  };
  // UNAUTHENTICATED, with a reason for the log alone, when anything at all does not match.
  virtual absl::StatusOr<token::v1::Claims> Verify(absl::string_view token,
                                                   const Expected& expected) const = 0;
};

}  // namespace postern::identity

#endif  // POSTERN_SERVICES_IDENTITY_TOKEN_H_
