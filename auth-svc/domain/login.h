// What every way to log in has in common: whom it names, and what becomes of it.
#ifndef POSTERN_AUTH_SVC_DOMAIN_LOGIN_H_
#define POSTERN_AUTH_SVC_DOMAIN_LOGIN_H_

#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "auth-svc/domain/directory.h"
#include "auth-svc/domain/login_throttle.h"
#include "auth-svc/domain/mirror.h"
#include "services/protocol/sasl/sasl.h"

namespace postern::auth {

// What somebody logs in for.
enum class LoginUse { kPop3, kSubmission };

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
  // For the log alone: why not; of an application password its name.
  std::string detail;
  // The password was known from an earlier login: no hash was computed.
  bool remembered = false;

  static LoginResult Accepted(Account account, std::string detail = "") {
    return {Outcome::kAccepted, std::move(account), std::move(detail)};
  }
  static LoginResult Invalid(Account account, std::string detail) {
    return {Outcome::kInvalid, std::move(account), std::move(detail)};
  }
  static LoginResult Temporary(const absl::Status& status) {
    return {Outcome::kTemporary, {}, status.ToString()};
  }
  static LoginResult Throttled(absl::Duration wait);
};

// Of a login as the throttle counts it.
LoginThrottle::Outcome OutcomeOf(const LoginResult& result);

// Whom it names; nullopt when that can be nobody, or to act as another is asked for: a right of its
// own (RFC 4616 2), which nobody has here.
std::optional<Address> NamedBy(const sasl::Identity& identity);

// Who logs in under an address.
struct LoginAccount {
  // An account by its full address: no alias, no sub-address; of an external directory by any of
  // the person's addresses.
  std::optional<Account> account;
  // Of the domain, whether there is such an account or not.
  LoginPolicy policy = LoginPolicy::kAny;
};
absl::StatusOr<LoginAccount> FindLogin(DirectoryReader& reader, const Mirror& mirror,
                                       const Address& address);

// Why it may not log in whatever it knows ("disabled account"); "" when it may.
std::string Disabled(const Account& account);

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_LOGIN_H_
