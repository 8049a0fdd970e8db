// The keys of an identity provider (RFC 7517), and whether one of them signed a token.
#ifndef POSTERN_AUTH_SVC_OAUTH_KEY_SET_H_
#define POSTERN_AUTH_SVC_OAUTH_KEY_SET_H_

#include <cjose/jwk.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "auth-svc/oauth/json.h"
#include "auth-svc/oauth/token.h"

namespace postern::auth::oauth {

// Never changes. Any thread may use it; the last one to hold it ends it.
class KeySet {
 public:
  // What may be read of a set.
  static constexpr size_t kMaxOctets = 1 << 20;

  // A JWK Set, of which the keys that can't be used are left out: for encryption, symmetric, of a
  // type that we don't know, RSA under 2048 bits. INVALID_ARGUMENT: none is left, or it is no set.
  static absl::StatusOr<KeySet> Parse(absl::string_view text);
  static absl::StatusOr<KeySet> Read(absl::string_view file);

  size_t size() const { return keys_.size(); }
  // Of each key that was left out: which it is, and why.
  const std::vector<std::string>& left_out() const { return left_out_; }

  // NOT_FOUND: by its key id, or without one by trying, the token is of no key here: a newer set
  // may have it. UNAUTHENTICATED: its key did not sign it.
  absl::Status Verify(const Token& token) const;

 private:
  struct ReleaseKey {
    void operator()(cjose_jwk_t* key) const { cjose_jwk_release(key); }
  };
  struct Key {
    std::optional<std::string> id;
    // The only one; nullopt: any that its type can have.
    std::optional<std::string> algorithm;
    std::unique_ptr<cjose_jwk_t, ReleaseKey> key;

    bool Suits(const Algorithm& wanted) const;
  };

  static absl::StatusOr<Key> ParseKey(const json_t* jwk);

  std::vector<Key> keys_;
  std::vector<std::string> left_out_;
};

}  // namespace postern::auth::oauth

#endif  // POSTERN_AUTH_SVC_OAUTH_KEY_SET_H_
