// Passwords to accounts, at a bounded cost and with one answer for everything that is wrong.
#ifndef POSTERN_AUTH_SVC_DOMAIN_AUTHENTICATOR_H_
#define POSTERN_AUTH_SVC_DOMAIN_AUTHENTICATOR_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "auth-svc/domain/directory.h"
#include "auth-svc/domain/login.h"
#include "auth-svc/domain/login_memory.h"
#include "auth-svc/domain/login_throttle.h"
#include "auth-svc/domain/mirror.h"
#include "auth-svc/domain/password.h"
#include "services/process/clock.h"
#include "services/process/worker_pool.h"
#include "services/protocol/sasl/sasl.h"

namespace postern::auth {

// Thread-safe. What it is given must outlive it and what is left on the pools; no login may be
// under way when it dies.
class Authenticator {
 public:
  using Done = absl::AnyInvocable<void(LoginResult)>;
  using Abandoned = absl::AnyInvocable<bool()>;

  // Makes the hash that stands in for those of users who do not exist; fails when that fails.
  // `rehash_on_login`: a password that was right gets a hash as new ones have it.
  static absl::StatusOr<std::unique_ptr<Authenticator>> Create(
      Directory& directory, Mirror& mirror, PasswordKeeper keeper, LoginMemory& memory,
      LoginThrottle& throttle, process::WorkerPool& reading, process::WorkerPool& hashing,
      process::Clock clock, bool rehash_on_login = false);

  // Calls `done` once, on this thread or on one of the pools'. The authentication identity is as
  // LoginAccount's; the password is the account's, where its domain lets that log in, or one of its
  // application passwords. Whatever is wrong with credentials costs one hash, or one look into an
  // external directory, unless `abandoned` says, when its turn comes, that nobody waits for the
  // answer any more. `network`: as LoginThrottle's.
  void LogIn(sasl::Credentials credentials, LoginUse use, std::string network, Abandoned abandoned,
             Done done);

 private:
  struct Attempt;

  Authenticator(Directory& directory, Mirror& mirror, PasswordKeeper keeper, LoginMemory& memory,
                LoginThrottle& throttle, process::WorkerPool& reading, process::WorkerPool& hashing,
                process::Clock clock, bool rehash_on_login, std::string stand_in_hash);
  // What the throttle admitted, on the reading pool; the hash on the other, unless nothing needs
  // it.
  void LookUp(const std::shared_ptr<Attempt>& attempt);
  // Who has the name, and the application password that this is, if it is one.
  absl::Status Find(Attempt& attempt);
  // What can be said of an attempt without a hash and without asking anybody.
  std::optional<LoginResult> Known(const Attempt& attempt);
  void Hash(const std::shared_ptr<Attempt>& attempt);
  // Whose password is in an external directory.
  void LookUpElsewhere(const std::shared_ptr<Attempt>& attempt);
  void AskElsewhere(const std::shared_ptr<Attempt>& attempt);
  // Of a person of an external directory: for when that is away. True of any other password, which
  // Known() looks up itself.
  static std::string AppPasswordKey(const Attempt& attempt);
  void RememberAppPassword(const Attempt& attempt);
  bool RemembersAppPassword(const Attempt& attempt);
  void Finish(Attempt& attempt, LoginResult result);
  LoginResult Verify(Attempt& attempt);
  LoginResult Check(Attempt& attempt);
  // Keeps the password as a new one would be. Nothing when the account changed meanwhile. What
  // fails is logged: the next login tries again.
  void Renew(Account& account, absl::string_view password);
  void NoteUse(AppPassword password);

  Directory& directory_;
  Mirror& mirror_;
  const PasswordKeeper keeper_;
  LoginMemory& memory_;
  LoginThrottle& throttle_;
  process::WorkerPool& reading_;
  process::WorkerPool& hashing_;
  const process::Clock clock_;
  const bool rehash_on_login_;
  const std::string stand_in_hash_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_AUTHENTICATOR_H_
