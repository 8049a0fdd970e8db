#include "auth-svc/domain/scram_login.h"

#include <utility>

#include "services/crypto/random_octets.h"
#include "services/crypto/sha256.h"
#include "services/telemetry/log.h"

namespace postern::auth {
namespace {

constexpr size_t kSaltOctets = 16;

absl::Status Busy() {
  return absl::ResourceExhaustedError("too many logins wait for the directory");
}

}  // namespace

struct ScramLogin::Attempt {
  LoginThrottle& throttle;
  // As the client spells it, and as we do; nullopt: nobody can be called that.
  const std::string named;
  const std::optional<Address> identity;
  // It asks to act as another. Told at the end, so that until then it is as any.
  const bool acts_as_another;
  LoginAccount found = {};
  std::optional<LoginThrottle::Attempt> throttled = {};

  Attempt(LoginThrottle& throttle, const sasl::Identity& named)
      : throttle(throttle),
        named(named.authentication_id),
        identity(NamedBy({"", named.authentication_id})),
        acts_as_another(identity.has_value() && !NamedBy(named).has_value()) {}
  // Who went away before the proof has guessed nothing.
  ~Attempt() { Settle(LoginThrottle::Outcome::kNotLookedAt); }

  void Settle(LoginThrottle::Outcome outcome) {
    if (throttled.has_value()) throttle.Settle(*std::exchange(throttled, std::nullopt), outcome);
  }
};

ScramLogin::ScramLogin(Directory& directory, const Mirror& mirror, PasswordKeeper keeper,
                       LoginThrottle& throttle, process::WorkerPool& reading, std::string secret)
    : directory_(directory),
      mirror_(mirror),
      keeper_(keeper),
      throttle_(throttle),
      reading_(reading),
      secret_(std::move(secret)) {}

absl::Status ScramLogin::LookUp(Attempt& attempt) {
  if (!attempt.identity.has_value()) return absl::OkStatus();
  return directory_.Read([&](DirectoryReader& reader) {
    absl::StatusOr<LoginAccount> found = FindLogin(reader, mirror_, *attempt.identity);
    if (found.ok()) attempt.found = *std::move(found);
    return found.status();
  });
}

sasl::ScramVerifier ScramLogin::VerifierOf(const Attempt& attempt) const {
  const std::optional<Account>& account = attempt.found.account;
  if (account.has_value()) {
    std::optional<sasl::ScramVerifier> verifier =
        keeper_.ScramOf({account->password_hash, account->scram_sha_256});
    if (verifier.has_value()) return *std::move(verifier);
  }
  crypto::Sha256 salt;
  salt.Field(secret_);
  salt.Field(attempt.identity.has_value() ? attempt.identity->ToString() : attempt.named);
  sasl::ScramVerifier stand_in;
  stand_in.iterations = keeper_.scram_iterations();
  stand_in.salt = salt.Finish().substr(0, kSaltOctets);
  stand_in.stored_key = crypto::RandomOctets(crypto::kSha256Octets);
  stand_in.server_key = crypto::RandomOctets(crypto::kSha256Octets);
  return stand_in;
}

void ScramLogin::Begin(const sasl::Identity& identity, std::string network, BegunDone done) {
  auto attempt = std::make_shared<Attempt>(throttle_, identity);
  const std::string account = attempt->identity.has_value() ? attempt->identity->ToString() : "";
  throttle_.Admit(account, std::move(network),
                  [this, attempt = std::move(attempt),
                   done = std::move(done)](LoginThrottle::Attempt throttled) mutable {
                    if (!throttled.admitted) {
                      done({nullptr, {}, LoginResult::Throttled(throttled.wait)});
                      return;
                    }
                    attempt->throttled = std::move(throttled);
                    process::RunOn<Begun>(
                        reading_,
                        [this, attempt]() -> Begun {
                          if (absl::Status read = LookUp(*attempt); !read.ok()) {
                            return {nullptr, {}, LoginResult::Temporary(read)};
                          }
                          return {attempt, VerifierOf(*attempt), {}};
                        },
                        std::move(done), Begun{nullptr, {}, LoginResult::Temporary(Busy())});
                  });
}

LoginResult ScramLogin::Judge(Attempt& attempt, sasl::ScramExchange::Proof proof) {
  const std::optional<Account> before = attempt.found.account;
  if (!before.has_value()) return LoginResult::Invalid({}, "no such account");
  const StoredPassword stored{before->password_hash, before->scram_sha_256};
  if (proof == sasl::ScramExchange::Proof::kWrongBinding) {
    return LoginResult::Invalid(*before, "the TLS connection is not the client's");
  }
  if (!keeper_.ScramOf(stored).has_value()) {
    if (!stored.scram_sha_256.empty()) Forget(*before);
    return LoginResult::Invalid(*before, "nothing for SCRAM is kept of this account");
  }
  if (proof != sasl::ScramExchange::Proof::kRight) {
    return LoginResult::Invalid(*before, "wrong password");
  }
  if (attempt.acts_as_another) {
    return LoginResult::Invalid(*before, "asks to act as another");
  }
  // It may have changed since the exchange began.
  if (absl::Status read = LookUp(attempt); !read.ok()) return LoginResult::Temporary(read);
  const std::optional<Account>& now = attempt.found.account;
  if (!now.has_value() || now->account_id != before->account_id ||
      now->password_hash != before->password_hash || now->scram_sha_256 != before->scram_sha_256) {
    return LoginResult::Invalid(*before, "changed meanwhile");
  }
  if (attempt.found.policy != LoginPolicy::kAny) {
    return LoginResult::Invalid(*now, "its domain takes application passwords only");
  }
  if (std::string why = Disabled(*now); !why.empty()) {
    return LoginResult::Invalid(*now, std::move(why));
  }
  return LoginResult::Accepted(*now);
}

void ScramLogin::Forget(const Account& account) {
  const absl::Status status = directory_.Write([&](DirectoryWriter& writer) -> absl::Status {
    absl::StatusOr<std::optional<Account>> now = writer.FindAccount(account.address);
    if (!now.ok()) return now.status();
    if (!now->has_value() || (*now)->account_id != account.account_id ||
        (*now)->version != account.version) {
      return absl::OkStatus();
    }
    (*now)->scram_sha_256.clear();
    return writer.UpdateAccount(**now);
  });
  if (!status.ok()) {
    telemetry::Log(telemetry::LogLevel::kWarning, "what is kept for SCRAM of an old password stays",
                   {{"account", account.address.ToString()}, {"status", status.ToString()}});
  }
}

void ScramLogin::End(std::shared_ptr<Attempt> attempt, sasl::ScramExchange::Proof proof,
                     Done done) {
  process::RunOn<LoginResult>(
      reading_, [this, attempt, proof] { return Judge(*attempt, proof); },
      [attempt, done = std::move(done)](LoginResult result) mutable {
        attempt->Settle(OutcomeOf(result));
        done(std::move(result));
      },
      LoginResult::Temporary(Busy()));
}

}  // namespace postern::auth
