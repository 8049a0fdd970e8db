// Logins of whom somebody else vouches for: an identity provider by a token, a CA by a certificate.
#ifndef POSTERN_AUTH_SVC_DOMAIN_VOUCHED_LOGIN_H_
#define POSTERN_AUTH_SVC_DOMAIN_VOUCHED_LOGIN_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "auth-svc/domain/directory.h"
#include "auth-svc/domain/login.h"
#include "auth-svc/domain/login_throttle.h"
#include "auth-svc/domain/mirror.h"
#include "services/process/worker_pool.h"
#include "services/protocol/sasl/sasl.h"

namespace postern::auth {

// Whose word it is, for the log ("token of login"), and for which addresses.
struct Vouched {
  std::vector<Address> addresses;
  std::string by;
};

// Thread-safe. What it is given must outlive it, and the pool must be empty when it dies.
class VouchedLogin {
 public:
  // UNAUTHENTICATED: a sentence for the log. Whatever else is wrong: may be tried again.
  using Verify = absl::AnyInvocable<absl::StatusOr<Vouched>()>;
  using Done = absl::AnyInvocable<void(LoginResult)>;

  VouchedLogin(Directory& directory, Mirror& mirror, LoginThrottle& throttle,
               process::WorkerPool& pool)
      : directory_(directory), mirror_(mirror), throttle_(throttle), pool_(pool) {}

  // `verify` runs on the pool. The account whose own address it is, since another that leads to it
  // may be a group's; with several, the one that `identity` asks to act as, which may be no other.
  // `network`: as LoginThrottle's.
  void LogIn(const sasl::Identity& identity, std::string network, Verify verify, Done done);

 private:
  struct Attempt;

  void Check(const std::shared_ptr<Attempt>& attempt);
  LoginResult Judge(const Address& address, const Vouched& vouched);
  void Finish(Attempt& attempt, LoginResult result);

  Directory& directory_;
  Mirror& mirror_;
  LoginThrottle& throttle_;
  process::WorkerPool& pool_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_VOUCHED_LOGIN_H_
