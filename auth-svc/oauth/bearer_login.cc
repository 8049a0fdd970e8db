#include "auth-svc/oauth/bearer_login.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace postern::auth::oauth {

struct BearerLogin::Attempt {
  std::string token;
  // Whom the client says that it is; nullopt: it does not.
  std::optional<Address> named;
  // The token's address, and who says so.
  Address address;
  std::string provider;
  LoginThrottle::Attempt throttled;
  Done done;
};

BearerLogin::BearerLogin(std::vector<std::unique_ptr<TokenVerifier>> providers,
                         Directory& directory, Mirror& mirror, LoginThrottle& throttle,
                         process::WorkerPool& pool)
    : providers_(std::move(providers)),
      directory_(directory),
      mirror_(mirror),
      throttle_(throttle),
      pool_(pool) {}

void BearerLogin::LogIn(sasl::Bearer bearer, std::string network, Done done) {
  auto attempt = std::make_shared<Attempt>();
  attempt->token = std::move(bearer.token);
  attempt->done = std::move(done);
  if (!bearer.authorization_id.empty()) {
    absl::StatusOr<Address> named = CanonicalAddress(bearer.authorization_id);
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
                    if (!pool_.Submit([this, attempt] { Verify(attempt); })) {
                      Finish(*attempt, LoginResult::Temporary(absl::ResourceExhaustedError(
                                           "too many logins wait for an identity provider")));
                    }
                  });
}

void BearerLogin::Verify(const std::shared_ptr<Attempt>& attempt) {
  std::string why;
  std::optional<absl::Status> away;
  for (const std::unique_ptr<TokenVerifier>& provider : providers_) {
    absl::StatusOr<Verified> verified = provider->Verify(attempt->token);
    if (verified.ok()) {
      attempt->address = std::move(verified->address);
      attempt->provider = provider->name();
      break;
    }
    if (absl::IsUnavailable(verified.status())) away = verified.status();
    absl::StrAppend(&why, why.empty() ? "" : "; ", provider->name(), ": ",
                    verified.status().message());
  }
  if (attempt->provider.empty()) {
    Finish(*attempt, away.has_value() ? LoginResult::Temporary(*away)
                                      : LoginResult::Invalid({}, std::move(why)));
    return;
  }
  if (attempt->named.has_value() && !(*attempt->named == attempt->address)) {
    Finish(*attempt, LoginResult::Invalid({}, absl::StrCat("the token is of another: ",
                                                           attempt->address.ToString())));
    return;
  }
  mirror_.Refresh({attempt->address}, [this, attempt](const absl::Status& refreshed) {
    Finish(*attempt, refreshed.ok() ? Judge(*attempt) : LoginResult::Temporary(refreshed));
  });
}

LoginResult BearerLogin::Judge(const Attempt& attempt) {
  LoginAccount found;
  const absl::Status read = directory_.Read([&](DirectoryReader& reader) {
    absl::StatusOr<LoginAccount> login = FindLogin(reader, mirror_, attempt.address);
    if (login.ok()) found = *std::move(login);
    return login.status();
  });
  if (!read.ok()) return LoginResult::Temporary(read);
  if (!found.account.has_value()) {
    return LoginResult::Invalid({},
                                absl::StrCat("there is no account ", attempt.address.ToString()));
  }
  if (std::string why = Disabled(*found.account); !why.empty()) {
    return LoginResult::Invalid(*std::move(found.account), std::move(why));
  }
  return LoginResult::Accepted(*std::move(found.account),
                               absl::StrCat("token of ", attempt.provider));
}

void BearerLogin::Finish(Attempt& attempt, LoginResult result) {
  throttle_.Settle(attempt.throttled, OutcomeOf(result));
  attempt.done(std::move(result));
}

}  // namespace postern::auth::oauth
