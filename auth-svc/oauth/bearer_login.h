// Logins by a bearer token (OAUTHBEARER, XOAUTH2): whom an identity provider vouches for.
#ifndef POSTERN_AUTH_SVC_OAUTH_BEARER_LOGIN_H_
#define POSTERN_AUTH_SVC_OAUTH_BEARER_LOGIN_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "auth-svc/domain/directory.h"
#include "auth-svc/domain/login.h"
#include "auth-svc/domain/login_throttle.h"
#include "auth-svc/domain/mirror.h"
#include "auth-svc/oauth/token_verifier.h"
#include "services/process/worker_pool.h"
#include "services/protocol/sasl/sasl.h"

namespace postern::auth::oauth {

// Thread-safe. What it is given must outlive it, and the pool must be empty when it dies.
class BearerLogin {
 public:
  using Done = absl::AnyInvocable<void(LoginResult)>;

  // `pool`: where tokens are verified, which may wait for a provider's keys.
  BearerLogin(std::vector<std::unique_ptr<TokenVerifier>> providers, Directory& directory,
              Mirror& mirror, LoginThrottle& throttle, process::WorkerPool& pool);

  // The account that has the token's address; an identity beside it may only be the same.
  // `network`: as LoginThrottle's.
  void LogIn(sasl::Bearer bearer, std::string network, Done done);

 private:
  struct Attempt;

  // On the pool.
  void Verify(const std::shared_ptr<Attempt>& attempt);
  LoginResult Judge(const Attempt& attempt);
  void Finish(Attempt& attempt, LoginResult result);

  const std::vector<std::unique_ptr<TokenVerifier>> providers_;
  Directory& directory_;
  Mirror& mirror_;
  LoginThrottle& throttle_;
  process::WorkerPool& pool_;
};

}  // namespace postern::auth::oauth

#endif  // POSTERN_AUTH_SVC_OAUTH_BEARER_LOGIN_H_
