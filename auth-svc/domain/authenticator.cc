#include "auth-svc/domain/authenticator.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/crypto/random_id.h"
#include "services/telemetry/log.h"

namespace postern::auth {
namespace {

// Who the credentials name; nullopt when they can't name anybody.
std::optional<Address> Identity(const sasl::Credentials& credentials) {
  absl::StatusOr<Address> address = CanonicalAddress(credentials.authentication_id);
  if (!address.ok()) return std::nullopt;
  // RFC 4616 2: to act as another is a right of its own, which nobody has here.
  if (!credentials.authorization_id.empty()) {
    absl::StatusOr<Address> acts_as = CanonicalAddress(credentials.authorization_id);
    if (!acts_as.ok() || !(*acts_as == *address)) return std::nullopt;
  }
  return *std::move(address);
}

LoginResult Temporary(const absl::Status& status) {
  return LoginResult{LoginResult::Outcome::kTemporary, {}, status.ToString()};
}

LoginResult Remembered(const Account& account) {
  LoginResult result;
  result.outcome = LoginResult::Outcome::kAccepted;
  result.account = account;
  result.remembered = true;
  return result;
}

LoginResult Throttled(absl::Duration wait) {
  return LoginResult{LoginResult::Outcome::kThrottled,
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

}  // namespace

struct Authenticator::Attempt {
  std::string password;
  // Whom the credentials name; nullopt: nobody.
  std::optional<Address> identity;
  // What was found at the start; nullopt: the stand-in is hashed against.
  std::optional<Account> account;
  LoginThrottle::Attempt throttled;
  Abandoned abandoned;
  Done done;

  ~Attempt() { Wipe(&password); }
};

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Create(
    Directory& directory, Mirror& mirror, PasswordHasher& hasher, LoginMemory& memory,
    LoginThrottle& throttle, process::WorkerPool& reading, process::WorkerPool& hashing,
    bool rehash_on_login) {
  // A password that nobody knows.
  absl::StatusOr<std::string> hash = hasher.Hash(crypto::RandomId());
  if (!hash.ok()) return hash.status();
  return std::unique_ptr<Authenticator>(new Authenticator(directory, mirror, hasher, memory,
                                                          throttle, reading, hashing,
                                                          rehash_on_login, *std::move(hash)));
}

Authenticator::Authenticator(Directory& directory, Mirror& mirror, PasswordHasher& hasher,
                             LoginMemory& memory, LoginThrottle& throttle,
                             process::WorkerPool& reading, process::WorkerPool& hashing,
                             bool rehash_on_login, std::string stand_in_hash)
    : directory_(directory),
      mirror_(mirror),
      hasher_(hasher),
      memory_(memory),
      throttle_(throttle),
      reading_(reading),
      hashing_(hashing),
      rehash_on_login_(rehash_on_login),
      stand_in_hash_(std::move(stand_in_hash)) {}

absl::StatusOr<std::optional<Account>> Authenticator::Find(const Address& address) {
  std::optional<Account> found;
  absl::Status read = directory_.Read([&](DirectoryReader& reader) {
    absl::StatusOr<std::optional<Account>> account = reader.FindAccount(address);
    if (!account.ok()) return account.status();
    found = *std::move(account);
    if (found.has_value() || !mirror_.Covers(address)) return absl::OkStatus();
    // Perhaps another address of a person of an external directory.
    absl::StatusOr<std::optional<Alias>> alias = reader.FindAlias(address);
    if (!alias.ok()) return alias.status();
    if (!alias->has_value() || !(*alias)->origin.external() || (*alias)->targets.size() != 1) {
      return absl::OkStatus();
    }
    account = reader.FindAccount((*alias)->targets.front());
    if (account.ok()) found = *std::move(account);
    return account.status();
  });
  if (!read.ok()) return read;
  return found;
}

void Authenticator::LogIn(sasl::Credentials credentials, std::string network, Abandoned abandoned,
                          Done done) {
  auto attempt = std::make_shared<Attempt>();
  attempt->password = credentials.password;
  Wipe(&credentials.password);
  attempt->abandoned = std::move(abandoned);
  attempt->done = std::move(done);
  attempt->identity = Identity(credentials);
  // Before anything is looked at: what is remembered can be guessed too.
  throttle_.Admit(
      attempt->identity.has_value() ? attempt->identity->ToString() : "", std::move(network),
      [this, attempt](LoginThrottle::Attempt throttled) {
        if (!throttled.admitted) {
          attempt->done(Throttled(throttled.wait));
          return;
        }
        attempt->throttled = std::move(throttled);
        if (!reading_.Submit([this, attempt] { LookUp(attempt); })) {
          Finish(*attempt,
                 Temporary(absl::ResourceExhaustedError("too many logins wait for the directory")));
        }
      });
}

void Authenticator::LookUp(const std::shared_ptr<Attempt>& attempt) {
  if (attempt->identity.has_value()) {
    absl::StatusOr<std::optional<Account>> account = Find(*attempt->identity);
    if (!account.ok()) {
      Finish(*attempt, Temporary(account.status()));
      return;
    }
    attempt->account = *std::move(account);
  }
  if (attempt->identity.has_value() && mirror_.Covers(*attempt->identity) &&
      (!attempt->account.has_value() || attempt->account->origin.external())) {
    LookUpElsewhere(attempt);
    return;
  }
  if (IsRemembered(*attempt)) {
    Finish(*attempt, Remembered(*attempt->account));
    return;
  }
  const bool accepted = hashing_.Submit([this, attempt] {
    LoginResult result = Verify(*attempt);
    Wipe(&attempt->password);
    Finish(*attempt, std::move(result));
  });
  if (!accepted) {
    Finish(*attempt, Temporary(absl::ResourceExhaustedError("too many logins wait for a hash")));
  }
}

bool Authenticator::IsRemembered(const Attempt& attempt) {
  return attempt.account.has_value() && attempt.account->enabled &&
         attempt.account->domain_enabled &&
         memory_.Knows(attempt.account->account_id, attempt.account->version, attempt.password);
}

void Authenticator::LookUpElsewhere(const std::shared_ptr<Attempt>& attempt) {
  if (!IsRemembered(*attempt)) {
    AskElsewhere(attempt);
    return;
  }
  mirror_.Refresh({*attempt->identity}, [this, attempt](const absl::Status& refreshed) {
    // While the directory is away, who logged in of late goes on.
    if (refreshed.ok()) {
      absl::StatusOr<std::optional<Account>> account = Find(*attempt->identity);
      if (!account.ok()) {
        Finish(*attempt, Temporary(account.status()));
        return;
      }
      attempt->account = *std::move(account);
    }
    if (IsRemembered(*attempt)) {
      Finish(*attempt, Remembered(*attempt->account));
    } else {
      AskElsewhere(attempt);
    }
  });
}

void Authenticator::AskElsewhere(const std::shared_ptr<Attempt>& attempt) {
  if (attempt->abandoned()) {
    Finish(*attempt, Temporary(absl::CancelledError("the client has gone")));
    return;
  }
  mirror_.LogIn(
      *attempt->identity, attempt->password,
      [this, attempt](absl::StatusOr<ExternalLogin> login, std::optional<Account> account) {
        if (!login.ok()) {
          Finish(*attempt, Temporary(login.status()));
          return;
        }
        LoginResult result;
        result.detail = login->detail;
        if (account.has_value()) result.account = *std::move(account);
        if (!login->right) {
          if (result.detail.empty()) result.detail = "wrong password";
        } else if (result.account.account_id.empty()) {
          result.detail = "every address of this person is an account or alias of ours";
        } else if (!result.account.enabled || !result.account.domain_enabled) {
          result.detail = result.account.enabled ? "disabled domain" : "disabled account";
        } else {
          memory_.Remember(result.account.account_id, result.account.version, attempt->password);
          result.outcome = LoginResult::Outcome::kAccepted;
        }
        Finish(*attempt, std::move(result));
      });
}

void Authenticator::Finish(Attempt& attempt, LoginResult result) {
  throttle_.Settle(attempt.throttled, OutcomeOf(result));
  attempt.done(std::move(result));
}

LoginResult Authenticator::Verify(Attempt& attempt) {
  LoginResult result = Check(attempt);
  // A cheaper hash, of another system, would tell that there is such an account.
  if (result.outcome == LoginResult::Outcome::kInvalid && attempt.account.has_value() &&
      hasher_.Outdated(attempt.account->password_hash)) {
    hasher_.Verify(stand_in_hash_, attempt.password).status().IgnoreError();
  }
  return result;
}

LoginResult Authenticator::Check(Attempt& attempt) {
  if (attempt.abandoned()) return Temporary(absl::CancelledError("the client has gone"));
  const bool known = attempt.account.has_value();
  absl::StatusOr<bool> matches =
      hasher_.Verify(known ? attempt.account->password_hash : stand_in_hash_, attempt.password);
  if (!matches.ok()) return Temporary(matches.status());
  LoginResult result;
  if (!known) {
    result.detail = "no such account";
    return result;
  }
  result.account = *attempt.account;
  if (!*matches) {
    result.detail = "wrong password";
    return result;
  }
  // The account may have changed while the attempt waited for its hash.
  absl::StatusOr<std::optional<Account>> now = Find(result.account.address);
  if (!now.ok()) return Temporary(now.status());
  if (!now->has_value() || (*now)->account_id != result.account.account_id ||
      (*now)->password_hash != result.account.password_hash) {
    result.detail = "changed meanwhile";
    return result;
  }
  result.account = **std::move(now);
  if (!result.account.enabled || !result.account.domain_enabled) {
    result.detail = result.account.enabled ? "disabled domain" : "disabled account";
    return result;
  }
  if (rehash_on_login_ && hasher_.Outdated(result.account.password_hash)) {
    Rehash(result.account, attempt.password);
  }
  memory_.Remember(result.account.account_id, result.account.version, attempt.password);
  result.outcome = LoginResult::Outcome::kAccepted;
  return result;
}

void Authenticator::Rehash(Account& account, absl::string_view password) {
  const absl::StatusOr<std::string> hash = hasher_.Hash(password);
  bool changed = false;
  const absl::Status status =
      !hash.ok() ? hash.status() : directory_.Write([&](DirectoryWriter& writer) -> absl::Status {
        changed = false;
        absl::StatusOr<std::optional<Account>> now = writer.FindAccount(account.address);
        if (!now.ok()) return now.status();
        if (!now->has_value() || (*now)->account_id != account.account_id ||
            (*now)->version != account.version) {
          return absl::OkStatus();
        }
        (*now)->password_hash = *hash;
        changed = true;
        return writer.UpdateAccount(**now);
      });
  if (!status.ok()) {
    telemetry::Log(telemetry::LogLevel::kWarning, "a password keeps its old hash",
                   {{"account", account.address.ToString()}, {"status", status.ToString()}});
  } else if (changed) {
    account.password_hash = *hash;
    // As every change of an account counts it.
    ++account.version;
  }
}

}  // namespace postern::auth
