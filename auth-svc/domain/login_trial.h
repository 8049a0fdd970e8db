// What would happen to a login, for the operator who is asked why it does not work.
#ifndef POSTERN_AUTH_SVC_DOMAIN_LOGIN_TRIAL_H_
#define POSTERN_AUTH_SVC_DOMAIN_LOGIN_TRIAL_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "auth-svc/domain/directory.h"
#include "auth-svc/domain/mirror.h"
#include "auth-svc/domain/password.h"
#include "services/process/worker_pool.h"

namespace postern::auth {

struct TriedLogin {
  // kFound: no password was given, and there is an account that may log in.
  enum class Outcome { kAccepted, kRefused, kTemporary, kFound };
  Outcome outcome = Outcome::kRefused;
  // Sentences without secrets, in the order in which it happened.
  std::vector<std::string> steps;
};

// Thread-safe. Goes the way of Authenticator, but counts nothing and remembers nothing. What it is
// given must outlive it.
class LoginTrial {
 public:
  using Done = absl::AnyInvocable<void(TriedLogin)>;

  LoginTrial(Directory& directory, Mirror& mirror, PasswordHasher& hasher,
             process::WorkerPool& hashing)
      : directory_(directory), mirror_(mirror), hasher_(hasher), hashing_(hashing) {}

  // Calls `done` once, on one of the pools' threads. `password`: nullopt: only looks.
  void Run(std::string address, std::optional<std::string> password, Done done);

 private:
  struct Trial;

  // On the hashing pool: what the rows say.
  void Begin(const std::shared_ptr<Trial>& trial);
  // True: it was one of them, and the trial has ended.
  bool TryAppPasswords(Trial& trial, const std::optional<Account>& account,
                       const std::vector<AppPassword>& app_passwords);
  void AskElsewhere(const std::shared_ptr<Trial>& trial);
  TriedLogin::Outcome ReadAccount(Trial& trial, const Account& account, bool check_password);

  Directory& directory_;
  Mirror& mirror_;
  PasswordHasher& hasher_;
  process::WorkerPool& hashing_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_LOGIN_TRIAL_H_
