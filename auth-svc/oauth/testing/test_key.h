// Keys of an identity provider and tokens that they sign, for tests.
#ifndef POSTERN_AUTH_SVC_OAUTH_TESTING_TEST_KEY_H_
#define POSTERN_AUTH_SVC_OAUTH_TESTING_TEST_KEY_H_

#include <cjose/jwk.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace postern::auth::oauth {

// Aborts when anything fails.
class TestKey {
 public:
  static TestKey Rsa(size_t bits = 2048);
  static TestKey Ec(cjose_jwk_ec_curve curve);
  // Of a private JWK.
  static TestKey Import(absl::string_view jwk);

  // The public key; `members` go before the others: "\"kid\":\"1\"".
  std::string Jwk(absl::string_view members) const;
  // A compact JWS. `header` has "alg".
  std::string Sign(absl::string_view header, absl::string_view payload) const;

 private:
  struct Release {
    void operator()(cjose_jwk_t* key) const { cjose_jwk_release(key); }
  };
  explicit TestKey(cjose_jwk_t* key);

  std::unique_ptr<cjose_jwk_t, Release> key_;
};

// {"keys":[...]}
std::string KeySetOf(const std::vector<std::string>& jwks);
// Compact, whatever the parts are.
std::string CompactOf(absl::string_view header, absl::string_view payload,
                      absl::string_view signature);

}  // namespace postern::auth::oauth

#endif  // POSTERN_AUTH_SVC_OAUTH_TESTING_TEST_KEY_H_
