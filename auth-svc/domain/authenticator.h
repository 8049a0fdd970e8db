// Credentials to an account, at a bounded cost and with one answer for everything that is wrong.
#ifndef POSTERN_AUTH_SVC_DOMAIN_AUTHENTICATOR_H_
#define POSTERN_AUTH_SVC_DOMAIN_AUTHENTICATOR_H_

#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "auth-svc/domain/directory.h"
#include "auth-svc/domain/login_memory.h"
#include "auth-svc/domain/login_throttle.h"
#include "auth-svc/domain/mirror.h"
#include "auth-svc/domain/password.h"
#include "services/process/worker_pool.h"
#include "services/protocol/sasl/sasl.h"

namespace postern::auth {

struct LoginResult {
  enum class Outcome {
    kAccepted,
    // Unknown, disabled, wrong: the client is never told which.
    kInvalid,
    // Too many wait, or the directory is away.
    kTemporary,
    // Too many passwords of late were wrong; this one was not looked at.
    kThrottled,
  };
  Outcome outcome = Outcome::kInvalid;
  // kAccepted: who logged in. kInvalid: whose password was tried, when there is such an account.
  // Empty otherwise.
  Account account;
  // For the log alone.
  std::string detail;
  // The password was known from an earlier login: no hash was computed.
  bool remembered = false;
};

// Thread-safe. What it is given must outlive it, and the pools must be empty when it dies.
class Authenticator {
 public:
  using Done = absl::AnyInvocable<void(LoginResult)>;
  using Abandoned = absl::AnyInvocable<bool()>;

  // Makes the hash that stands in for those of users who do not exist; fails when that fails.
  // `rehash_on_login`: a password that was right gets a hash as new ones have it.
  static absl::StatusOr<std::unique_ptr<Authenticator>> Create(
      Directory& directory, Mirror& mirror, PasswordHasher& hasher, LoginMemory& memory,
      LoginThrottle& throttle, process::WorkerPool& reading, process::WorkerPool& hashing,
      bool rehash_on_login = false);

  // Calls `done` once, on this thread or on one of the pools'. The authentication identity is an
  // account's full address: no alias, no sub-address; in an external directory any of the person's
  // addresses. Whatever is wrong with credentials costs one hash, or one look into that directory,
  // unless `abandoned` says, when its turn comes, that nobody waits for the answer any more.
  // `network`: as LoginThrottle's.
  void LogIn(sasl::Credentials credentials, std::string network, Abandoned abandoned, Done done);

 private:
  struct Attempt;

  Authenticator(Directory& directory, Mirror& mirror, PasswordHasher& hasher, LoginMemory& memory,
                LoginThrottle& throttle, process::WorkerPool& reading, process::WorkerPool& hashing,
                bool rehash_on_login, std::string stand_in_hash);
  // What the throttle admitted, on the reading pool; the hash on the other, unless it is
  // remembered.
  void LookUp(const std::shared_ptr<Attempt>& attempt);
  bool IsRemembered(const Attempt& attempt);
  // Whose password is in an external directory.
  void LookUpElsewhere(const std::shared_ptr<Attempt>& attempt);
  void AskElsewhere(const std::shared_ptr<Attempt>& attempt);
  void Finish(Attempt& attempt, LoginResult result);
  LoginResult Verify(Attempt& attempt);
  LoginResult Check(Attempt& attempt);
  // Nothing when the account changed meanwhile. What fails is logged: the next login tries again.
  void Rehash(Account& account, absl::string_view password);
  absl::StatusOr<std::optional<Account>> Find(const Address& address);

  Directory& directory_;
  Mirror& mirror_;
  PasswordHasher& hasher_;
  LoginMemory& memory_;
  LoginThrottle& throttle_;
  process::WorkerPool& reading_;
  process::WorkerPool& hashing_;
  const bool rehash_on_login_;
  const std::string stand_in_hash_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_AUTHENTICATOR_H_
