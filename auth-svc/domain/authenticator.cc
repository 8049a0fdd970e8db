#include "auth-svc/domain/authenticator.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "auth-svc/domain/app_password.h"
#include "services/crypto/random_id.h"
#include "services/telemetry/log.h"

namespace postern::auth {
namespace {

// How exactly an application password's last use is known.
constexpr absl::Duration kUseNoted = absl::Hours(1);

}  // namespace

struct Authenticator::Attempt {
  std::string password;
  LoginUse use = LoginUse::kPop3;
  // Whom the credentials name; nullopt: nobody.
  std::optional<Address> identity;
  // What was found at the start; without an account the stand-in is hashed against.
  LoginAccount found;
  // Which of its application passwords the password is.
  std::optional<AppPassword> app_password;
  LoginThrottle::Attempt throttled;
  Abandoned abandoned;
  Done done;

  ~Attempt() { Wipe(&password); }

  bool UsesAppPassword() const {
    return app_password.has_value() &&
           (use == LoginUse::kPop3 ? app_password->pop3 : app_password->submission);
  }
};

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Create(
    Directory& directory, Mirror& mirror, PasswordKeeper keeper, LoginMemory& memory,
    LoginThrottle& throttle, process::WorkerPool& reading, process::WorkerPool& hashing,
    process::Clock clock, bool rehash_on_login) {
  // A password that nobody knows.
  absl::StatusOr<std::string> hash = keeper.hasher().Hash(crypto::RandomId());
  if (!hash.ok()) return hash.status();
  return std::unique_ptr<Authenticator>(
      new Authenticator(directory, mirror, keeper, memory, throttle, reading, hashing,
                        std::move(clock), rehash_on_login, *std::move(hash)));
}

Authenticator::Authenticator(Directory& directory, Mirror& mirror, PasswordKeeper keeper,
                             LoginMemory& memory, LoginThrottle& throttle,
                             process::WorkerPool& reading, process::WorkerPool& hashing,
                             process::Clock clock, bool rehash_on_login, std::string stand_in_hash)
    : directory_(directory),
      mirror_(mirror),
      keeper_(keeper),
      memory_(memory),
      throttle_(throttle),
      reading_(reading),
      hashing_(hashing),
      clock_(std::move(clock)),
      rehash_on_login_(rehash_on_login),
      stand_in_hash_(std::move(stand_in_hash)) {}

void Authenticator::LogIn(sasl::Credentials credentials, LoginUse use, std::string network,
                          Abandoned abandoned, Done done) {
  auto attempt = std::make_shared<Attempt>();
  attempt->password = credentials.password;
  Wipe(&credentials.password);
  attempt->use = use;
  attempt->abandoned = std::move(abandoned);
  attempt->done = std::move(done);
  attempt->identity = NamedBy(credentials);
  // Before anything is looked at: what is remembered can be guessed too.
  throttle_.Admit(attempt->identity.has_value() ? attempt->identity->ToString() : "",
                  std::move(network), [this, attempt](LoginThrottle::Attempt throttled) {
                    if (!throttled.admitted) {
                      attempt->done(LoginResult::Throttled(throttled.wait));
                      return;
                    }
                    attempt->throttled = std::move(throttled);
                    if (!reading_.Submit([this, attempt] { LookUp(attempt); })) {
                      Finish(*attempt, LoginResult::Temporary(absl::ResourceExhaustedError(
                                           "too many logins wait for the directory")));
                    }
                  });
}

absl::Status Authenticator::Find(Attempt& attempt) {
  return directory_.Read([&](DirectoryReader& reader) {
    attempt.app_password.reset();
    absl::StatusOr<LoginAccount> found = FindLogin(reader, mirror_, *attempt.identity);
    if (!found.ok()) return found.status();
    attempt.found = *std::move(found);
    if (!attempt.found.account.has_value()) return absl::OkStatus();
    const std::string& account_id = attempt.found.account->account_id;
    const std::optional<std::string> hash = AppPasswordHash(account_id, attempt.password);
    if (!hash.has_value()) return absl::OkStatus();
    absl::StatusOr<std::optional<AppPassword>> password = reader.FindAppPassword(account_id, *hash);
    if (password.ok()) attempt.app_password = *std::move(password);
    return password.status();
  });
}

std::optional<LoginResult> Authenticator::Known(const Attempt& attempt) {
  const std::optional<Account>& account = attempt.found.account;
  if (!account.has_value() || !Disabled(*account).empty()) return std::nullopt;
  if (attempt.UsesAppPassword()) {
    return LoginResult::Accepted(*account,
                                 absl::StrCat("application password ", attempt.app_password->name));
  }
  if (attempt.found.policy == LoginPolicy::kAny &&
      memory_.Knows(account->account_id, account->version, attempt.password)) {
    LoginResult result = LoginResult::Accepted(*account);
    result.remembered = true;
    return result;
  }
  return std::nullopt;
}

void Authenticator::LookUp(const std::shared_ptr<Attempt>& attempt) {
  if (attempt->identity.has_value()) {
    if (absl::Status found = Find(*attempt); !found.ok()) {
      Finish(*attempt, LoginResult::Temporary(found));
      return;
    }
    const std::optional<Account>& account = attempt->found.account;
    if (mirror_.Covers(*attempt->identity) &&
        (!account.has_value() || account->origin.external())) {
      LookUpElsewhere(attempt);
      return;
    }
  }
  if (std::optional<LoginResult> known = Known(*attempt); known.has_value()) {
    Finish(*attempt, *std::move(known));
  } else {
    Hash(attempt);
  }
}

void Authenticator::Hash(const std::shared_ptr<Attempt>& attempt) {
  const bool accepted = hashing_.Submit([this, attempt] {
    LoginResult result = Verify(*attempt);
    Wipe(&attempt->password);
    Finish(*attempt, std::move(result));
  });
  if (!accepted) {
    Finish(*attempt,
           LoginResult::Temporary(absl::ResourceExhaustedError("too many logins wait for a hash")));
  }
}

void Authenticator::LookUpElsewhere(const std::shared_ptr<Attempt>& attempt) {
  const auto ask = [this](const std::shared_ptr<Attempt>& asked) {
    // Who is nobody's, or may not log in with it, is told after a hash.
    if (asked->found.policy == LoginPolicy::kAny && !asked->app_password.has_value()) {
      AskElsewhere(asked);
    } else {
      Hash(asked);
    }
  };
  std::optional<LoginResult> known = Known(*attempt);
  if (!known.has_value() && !attempt->app_password.has_value()) {
    ask(attempt);
    return;
  }
  if (known.has_value() && mirror_.Stale({*attempt->identity}).empty()) {
    // What was read is what reading it again would give.
    RememberAppPassword(*attempt);
    Finish(*attempt, *std::move(known));
    return;
  }
  mirror_.Refresh({*attempt->identity}, [this, attempt, ask](const absl::Status& refreshed) {
    // While the directory is away, who logged in of late goes on.
    const absl::Status found = refreshed.ok()                   ? Find(*attempt)
                               : RemembersAppPassword(*attempt) ? absl::OkStatus()
                                                                : refreshed;
    if (!found.ok()) {
      Finish(*attempt, LoginResult::Temporary(found));
      return;
    }
    if (std::optional<LoginResult> known = Known(*attempt); known.has_value()) {
      if (refreshed.ok()) RememberAppPassword(*attempt);
      Finish(*attempt, *std::move(known));
    } else {
      ask(attempt);
    }
  });
}

// Nothing that a client sends as a password begins so.
std::string Authenticator::AppPasswordKey(const Attempt& attempt) {
  return absl::StrCat(absl::string_view("\0", 1), attempt.app_password->hash);
}

void Authenticator::RememberAppPassword(const Attempt& attempt) {
  if (!attempt.UsesAppPassword() || !attempt.found.account.has_value()) return;
  memory_.Remember(attempt.found.account->account_id, attempt.found.account->version,
                   AppPasswordKey(attempt));
}

bool Authenticator::RemembersAppPassword(const Attempt& attempt) {
  if (!attempt.app_password.has_value()) return true;
  return attempt.found.account.has_value() &&
         memory_.Knows(attempt.found.account->account_id, attempt.found.account->version,
                       AppPasswordKey(attempt));
}

void Authenticator::AskElsewhere(const std::shared_ptr<Attempt>& attempt) {
  if (attempt->abandoned()) {
    Finish(*attempt, LoginResult::Temporary(absl::CancelledError("the client has gone")));
    return;
  }
  mirror_.LogIn(
      *attempt->identity, attempt->password,
      [this, attempt](absl::StatusOr<ExternalLogin> login, std::optional<Account> account) {
        if (!login.ok()) {
          Finish(*attempt, LoginResult::Temporary(login.status()));
          return;
        }
        LoginResult result;
        result.detail = login->detail;
        if (account.has_value()) result.account = *std::move(account);
        if (!login->right) {
          if (result.detail.empty()) result.detail = "wrong password";
        } else if (result.account.account_id.empty()) {
          result.detail = "every address of this person is an account or alias of ours";
        } else if (std::string why = Disabled(result.account); !why.empty()) {
          result.detail = std::move(why);
        } else if (result.account.login_policy != LoginPolicy::kAny) {
          // Of another of the person's addresses than the one that was named.
          result.detail = "its domain takes application passwords only";
        } else {
          memory_.Remember(result.account.account_id, result.account.version, attempt->password);
          result.outcome = LoginResult::Outcome::kAccepted;
        }
        Finish(*attempt, std::move(result));
      });
}

void Authenticator::Finish(Attempt& attempt, LoginResult result) {
  const bool accepted = result.outcome == LoginResult::Outcome::kAccepted;
  throttle_.Settle(attempt.throttled, OutcomeOf(result));
  if (accepted && attempt.UsesAppPassword()) NoteUse(*attempt.app_password);
  attempt.done(std::move(result));
}

LoginResult Authenticator::Verify(Attempt& attempt) {
  LoginResult result = Check(attempt);
  // A cheaper hash, of another system, would tell that there is such an account.
  const std::optional<Account>& account = attempt.found.account;
  if (result.outcome == LoginResult::Outcome::kInvalid && account.has_value() &&
      attempt.found.policy == LoginPolicy::kAny && !attempt.app_password.has_value() &&
      keeper_.hasher().Outdated(account->password_hash)) {
    keeper_.hasher().Verify(stand_in_hash_, attempt.password).status().IgnoreError();
  }
  return result;
}

LoginResult Authenticator::Check(Attempt& attempt) {
  if (attempt.abandoned()) {
    return LoginResult::Temporary(absl::CancelledError("the client has gone"));
  }
  const std::optional<Account>& found = attempt.found.account;
  const bool by_password = found.has_value() && attempt.found.policy == LoginPolicy::kAny &&
                           !attempt.app_password.has_value();
  absl::StatusOr<bool> matches = keeper_.hasher().Verify(
      by_password ? found->password_hash : stand_in_hash_, attempt.password);
  if (!matches.ok()) return LoginResult::Temporary(matches.status());
  if (!found.has_value()) return LoginResult::Invalid({}, "no such account");
  if (!by_password) {
    std::string why = Disabled(*found);
    if (why.empty()) {
      why = attempt.app_password.has_value()
                ? absl::StrCat("application password ", attempt.app_password->name,
                               " is not for this protocol")
                : "its domain takes application passwords only";
    }
    return LoginResult::Invalid(*found, std::move(why));
  }
  if (!*matches) return LoginResult::Invalid(*found, "wrong password");
  // The account may have changed while the attempt waited for its hash.
  const Account before = *found;
  if (absl::Status now = Find(attempt); !now.ok()) return LoginResult::Temporary(now);
  if (!found.has_value() || found->account_id != before.account_id ||
      found->password_hash != before.password_hash || attempt.found.policy != LoginPolicy::kAny) {
    return LoginResult::Invalid(before, "changed meanwhile");
  }
  if (std::string why = Disabled(*found); !why.empty()) {
    return LoginResult::Invalid(*found, std::move(why));
  }
  LoginResult result = LoginResult::Accepted(*found);
  Renew(result.account, attempt.password);
  memory_.Remember(result.account.account_id, result.account.version, attempt.password);
  return result;
}

void Authenticator::Renew(Account& account, absl::string_view password) {
  StoredPassword stored{account.password_hash, account.scram_sha_256};
  const bool rehash = rehash_on_login_ && keeper_.hasher().Outdated(stored.hash);
  const bool scram = keeper_.scram_iterations() > 0 && (rehash || keeper_.ScramOutdated(stored));
  if (!rehash && !scram) return;
  bool changed = false;
  const absl::Status status = [&]() -> absl::Status {
    if (rehash) {
      absl::StatusOr<std::string> hash = keeper_.hasher().Hash(password);
      if (!hash.ok()) return hash.status();
      stored = {*std::move(hash), ""};
    }
    if (scram) {
      absl::StatusOr<std::string> kept = keeper_.KeepScram(stored.hash, password);
      // Of a password that SCRAM can't carry nothing is kept.
      if (!kept.ok() && !absl::IsInvalidArgument(kept.status())) return kept.status();
      stored.scram_sha_256 = kept.ok() ? *std::move(kept) : "";
      if (!rehash && stored.scram_sha_256.empty()) return absl::OkStatus();
    }
    return directory_.Write([&](DirectoryWriter& writer) -> absl::Status {
      changed = false;
      absl::StatusOr<std::optional<Account>> now = writer.FindAccount(account.address);
      if (!now.ok()) return now.status();
      if (!now->has_value() || (*now)->account_id != account.account_id ||
          (*now)->version != account.version) {
        return absl::OkStatus();
      }
      (*now)->password_hash = stored.hash;
      (*now)->scram_sha_256 = stored.scram_sha_256;
      changed = true;
      return writer.UpdateAccount(**now);
    });
  }();
  if (!status.ok()) {
    telemetry::Log(telemetry::LogLevel::kWarning, "a password stays as it was kept",
                   {{"account", account.address.ToString()}, {"status", status.ToString()}});
  } else if (changed) {
    account.password_hash = stored.hash;
    account.scram_sha_256 = stored.scram_sha_256;
    // As every change of an account counts it.
    ++account.version;
  }
}

void Authenticator::NoteUse(AppPassword password) {
  const absl::Time now = clock_();
  if (now - password.last_used_at < kUseNoted) return;
  // Busy: the next login notes it. Nobody waits for it, so this may be gone by then.
  (void)hashing_.Submit([&directory = directory_, now, password = std::move(password)] {
    const absl::Status noted = directory.Write(
        [&](DirectoryWriter& writer) { return writer.UseAppPassword(password, now); });
    if (!noted.ok()) {
      telemetry::Log(telemetry::LogLevel::kWarning,
                     "the use of an application password is not noted",
                     {{"name", password.name}, {"status", noted.ToString()}});
    }
  });
}

}  // namespace postern::auth
