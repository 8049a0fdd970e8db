#include "auth-svc/domain/vouched_login.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace postern::auth {

struct VouchedLogin::Attempt {
  // Whom the client says that it is; nullopt: it does not.
  std::optional<Address> named;
  Verify verify;
  LoginThrottle::Attempt throttled;
  Done done;
};

void VouchedLogin::LogIn(const sasl::Identity& identity, std::string network, Verify verify,
                         Done done) {
  auto attempt = std::make_shared<Attempt>();
  attempt->verify = std::move(verify);
  attempt->done = std::move(done);
  if (!identity.authorization_id.empty()) {
    absl::StatusOr<Address> named = CanonicalAddress(identity.authorization_id);
    if (!named.ok()) {
      attempt->done(LoginResult::Invalid({}, "nobody can be called what it names"));
      return;
    }
    attempt->named = *std::move(named);
  }
  throttle_.Admit(attempt->named.has_value() ? attempt->named->ToString() : "", std::move(network),
                  [this, attempt](LoginThrottle::Attempt throttled) {
                    if (!throttled.admitted) {
                      attempt->done(LoginResult::Throttled(throttled.wait));
                      return;
                    }
                    attempt->throttled = std::move(throttled);
                    if (!pool_.Submit([this, attempt] { Check(attempt); })) {
                      Finish(*attempt, LoginResult::Temporary(absl::ResourceExhaustedError(
                                           "too many logins wait to be verified")));
                    }
                  });
}

void VouchedLogin::Check(const std::shared_ptr<Attempt>& attempt) {
  const absl::StatusOr<Vouched> vouched = attempt->verify();
  if (!vouched.ok()) {
    Finish(*attempt, absl::IsUnauthenticated(vouched.status())
                         ? LoginResult::Invalid({}, std::string(vouched.status().message()))
                         : LoginResult::Temporary(vouched.status()));
    return;
  }
  std::optional<Address> who = attempt->named;
  if (!who.has_value() && vouched->addresses.size() == 1) who = vouched->addresses.front();
  if (!who.has_value()) {
    Finish(*attempt,
           LoginResult::Invalid(
               {}, absl::StrCat(vouched->by, ": has not one address, and the client names none")));
    return;
  }
  if (std::find(vouched->addresses.begin(), vouched->addresses.end(), *who) ==
      vouched->addresses.end()) {
    Finish(*attempt, LoginResult::Invalid(
                         {}, absl::StrCat(vouched->by, ": is of another than ", who->ToString())));
    return;
  }
  // Who it is was not known when it was counted.
  attempt->throttled.account = who->ToString();
  mirror_.Refresh(
      {*who}, [this, attempt, who = *who, vouched = *vouched](const absl::Status& refreshed) {
        Finish(*attempt, refreshed.ok() ? Judge(who, vouched) : LoginResult::Temporary(refreshed));
      });
}

LoginResult VouchedLogin::Judge(const Address& address, const Vouched& vouched) {
  LoginAccount found;
  const absl::Status read = directory_.Read([&](DirectoryReader& reader) {
    absl::StatusOr<LoginAccount> login = FindLogin(reader, mirror_, address);
    if (login.ok()) found = *std::move(login);
    return login.status();
  });
  if (!read.ok()) return LoginResult::Temporary(read);
  if (!found.account.has_value()) {
    return LoginResult::Invalid({}, absl::StrCat("there is no account ", address.ToString()));
  }
  if (!(found.account->address == address)) {
    return LoginResult::Invalid(
        {}, absl::StrCat(vouched.by, ": ", address.ToString(), " is not an account's own address"));
  }
  if (std::string why = Disabled(*found.account); !why.empty()) {
    return LoginResult::Invalid(*std::move(found.account), std::move(why));
  }
  return LoginResult::Accepted(*std::move(found.account), vouched.by);
}

void VouchedLogin::Finish(Attempt& attempt, LoginResult result) {
  throttle_.Settle(attempt.throttled, OutcomeOf(result));
  attempt.done(std::move(result));
}

}  // namespace postern::auth
