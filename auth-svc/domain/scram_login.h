// Logins by SCRAM: the client proves that it knows the password, and is shown that we know of it.
#ifndef POSTERN_AUTH_SVC_DOMAIN_SCRAM_LOGIN_H_
#define POSTERN_AUTH_SVC_DOMAIN_SCRAM_LOGIN_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/functional/any_invocable.h"
#include "auth-svc/domain/directory.h"
#include "auth-svc/domain/login.h"
#include "auth-svc/domain/login_throttle.h"
#include "auth-svc/domain/mirror.h"
#include "auth-svc/domain/password.h"
#include "services/process/worker_pool.h"
#include "services/protocol/sasl/sasl.h"

namespace postern::auth {

// Thread-safe. What it is given must outlive it, and the pool must be empty when it dies.
class ScramLogin {
 public:
  // One login under way: the account that was found, and what the throttle knows of it.
  struct Attempt;
  struct Begun {
    // Null: it has ended, with `result`.
    std::shared_ptr<Attempt> attempt;
    sasl::ScramVerifier verifier;
    LoginResult result;
  };
  using BegunDone = absl::AnyInvocable<void(Begun)>;
  using Done = absl::AnyInvocable<void(LoginResult)>;

  // `secret`: the same in all replicas; whoever is not there has a salt made of it.
  ScramLogin(Directory& directory, const Mirror& mirror, PasswordKeeper keeper,
             LoginThrottle& throttle, process::WorkerPool& reading, std::string secret);

  // Who is nobody, and who has nothing for SCRAM, gets a stand-in that no password fits.
  void Begin(const sasl::Identity& identity, std::string network, BegunDone done);
  // Once for each attempt.
  void End(std::shared_ptr<Attempt> attempt, sasl::ScramExchange::Proof proof, Done done);

 private:
  absl::Status LookUp(Attempt& attempt);
  sasl::ScramVerifier VerifierOf(const Attempt& attempt) const;
  // What is kept of another password than the account has, by a version that knows nothing of
  // SCRAM: it must not count when mechanisms are offered.
  void Forget(const Account& account);
  LoginResult Judge(Attempt& attempt, sasl::ScramExchange::Proof proof);

  Directory& directory_;
  const Mirror& mirror_;
  const PasswordKeeper keeper_;
  LoginThrottle& throttle_;
  process::WorkerPool& reading_;
  const std::string secret_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_SCRAM_LOGIN_H_
