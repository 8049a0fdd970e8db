#include "auth-svc/domain/login.h"

#include "absl/strings/str_cat.h"

namespace postern::auth {

LoginResult LoginResult::Throttled(absl::Duration wait) {
  return {Outcome::kThrottled,
          {},
          absl::StrCat("too many failures, the next in ",
                       absl::FormatDuration(absl::Ceil(wait, absl::Seconds(1))))};
}

LoginThrottle::Outcome OutcomeOf(const LoginResult& result) {
  switch (result.outcome) {
    case LoginResult::Outcome::kAccepted:
      return LoginThrottle::Outcome::kAccepted;
    case LoginResult::Outcome::kInvalid:
      return LoginThrottle::Outcome::kWrong;
    default:
      return LoginThrottle::Outcome::kNotLookedAt;
  }
}

std::optional<Address> NamedBy(const sasl::Identity& identity) {
  absl::StatusOr<Address> address = CanonicalAddress(identity.authentication_id);
  if (!address.ok()) return std::nullopt;
  if (!identity.authorization_id.empty()) {
    absl::StatusOr<Address> acts_as = CanonicalAddress(identity.authorization_id);
    if (!acts_as.ok() || !(*acts_as == *address)) return std::nullopt;
  }
  return *std::move(address);
}

absl::StatusOr<LoginAccount> FindLogin(DirectoryReader& reader, const Mirror& mirror,
                                       const Address& address) {
  LoginAccount found;
  absl::StatusOr<std::optional<Account>> account = reader.FindAccount(address);
  if (!account.ok()) return account.status();
  found.account = *std::move(account);
  if (!found.account.has_value() && mirror.Covers(address)) {
    // Perhaps another address of a person of an external directory.
    absl::StatusOr<std::optional<Alias>> alias = reader.FindAlias(address);
    if (!alias.ok()) return alias.status();
    if (alias->has_value() && (*alias)->origin.external() && (*alias)->targets.size() == 1) {
      account = reader.FindAccount((*alias)->targets.front());
      if (!account.ok()) return account.status();
      found.account = *std::move(account);
    }
  }
  if (found.account.has_value()) {
    found.policy = found.account->login_policy;
    return found;
  }
  absl::StatusOr<std::optional<Domain>> domain = reader.FindDomain(address.domain);
  if (!domain.ok()) return domain.status();
  if (domain->has_value()) found.policy = (*domain)->login_policy;
  return found;
}

std::string Disabled(const Account& account) {
  if (account.enabled && account.domain_enabled) return "";
  return account.enabled ? "disabled domain" : "disabled account";
}

}  // namespace postern::auth
