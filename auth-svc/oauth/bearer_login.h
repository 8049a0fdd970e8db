// Logins by a bearer token (OAUTHBEARER, XOAUTH2): whom an identity provider vouches for.
#ifndef POSTERN_AUTH_SVC_OAUTH_BEARER_LOGIN_H_
#define POSTERN_AUTH_SVC_OAUTH_BEARER_LOGIN_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "auth-svc/domain/vouched_login.h"
#include "auth-svc/oauth/token_verifier.h"
#include "services/protocol/sasl/sasl.h"

namespace postern::auth::oauth {

// Thread-safe. What it is given must outlive it. `logins` has a pool of its own: verifying may wait
// for a provider's keys.
class BearerLogin {
 public:
  BearerLogin(std::vector<std::unique_ptr<TokenVerifier>> providers, VouchedLogin& logins)
      : providers_(std::move(providers)), logins_(logins) {}

  // As VouchedLogin's.
  void LogIn(sasl::Bearer bearer, std::string network, VouchedLogin::Done done);

 private:
  // By the first provider that does.
  absl::StatusOr<Vouched> Verify(absl::string_view token) const;

  const std::vector<std::unique_ptr<TokenVerifier>> providers_;
  VouchedLogin& logins_;
};

}  // namespace postern::auth::oauth

#endif  // POSTERN_AUTH_SVC_OAUTH_BEARER_LOGIN_H_
