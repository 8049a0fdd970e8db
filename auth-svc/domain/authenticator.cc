#include "auth-svc/domain/authenticator.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/crypto/random_id.h"

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

}  // namespace

struct Authenticator::Attempt {
  std::string password;
  // Whom the credentials name; nullopt: nobody.
  std::optional<Address> identity;
  // What was found at the start; nullopt: the stand-in is hashed against.
  std::optional<Account> account;
  Abandoned abandoned;
  Done done;

  ~Attempt() { Wipe(&password); }
};

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Create(Directory& directory,
                                                                     PasswordHasher& hasher,
                                                                     LoginMemory& memory,
                                                                     process::WorkerPool& reading,
                                                                     process::WorkerPool& hashing) {
  // A password that nobody knows.
  absl::StatusOr<std::string> hash = hasher.Hash(crypto::RandomId());
  if (!hash.ok()) return hash.status();
  return std::unique_ptr<Authenticator>(
      new Authenticator(directory, hasher, memory, reading, hashing, *std::move(hash)));
}

Authenticator::Authenticator(Directory& directory, PasswordHasher& hasher, LoginMemory& memory,
                             process::WorkerPool& reading, process::WorkerPool& hashing,
                             std::string stand_in_hash)
    : directory_(directory),
      hasher_(hasher),
      memory_(memory),
      reading_(reading),
      hashing_(hashing),
      stand_in_hash_(std::move(stand_in_hash)) {}

absl::StatusOr<std::optional<Account>> Authenticator::Find(const Address& address) {
  std::optional<Account> found;
  absl::Status read = directory_.Read([&](DirectoryReader& reader) {
    absl::StatusOr<std::optional<Account>> account = reader.FindAccount(address);
    if (!account.ok()) return account.status();
    found = *std::move(account);
    return absl::OkStatus();
  });
  if (!read.ok()) return read;
  return found;
}

void Authenticator::LogIn(sasl::Credentials credentials, Abandoned abandoned, Done done) {
  auto attempt = std::make_shared<Attempt>();
  attempt->password = credentials.password;
  Wipe(&credentials.password);
  attempt->abandoned = std::move(abandoned);
  attempt->done = std::move(done);
  attempt->identity = Identity(credentials);
  if (!reading_.Submit([this, attempt] { LookUp(attempt); })) {
    attempt->done(
        Temporary(absl::ResourceExhaustedError("too many logins wait for the directory")));
  }
}

void Authenticator::LookUp(const std::shared_ptr<Attempt>& attempt) {
  if (attempt->identity.has_value()) {
    absl::StatusOr<std::optional<Account>> account = Find(*attempt->identity);
    if (!account.ok()) {
      attempt->done(Temporary(account.status()));
      return;
    }
    attempt->account = *std::move(account);
  }
  if (attempt->account.has_value()) {
    const Account& account = *attempt->account;
    if (account.enabled && account.domain_enabled &&
        memory_.Knows(account.account_id, account.version, attempt->password)) {
      LoginResult result;
      result.outcome = LoginResult::Outcome::kAccepted;
      result.account = account;
      result.remembered = true;
      attempt->done(std::move(result));
      return;
    }
  }
  const bool accepted = hashing_.Submit([this, attempt] {
    LoginResult result = Verify(*attempt);
    Wipe(&attempt->password);
    attempt->done(std::move(result));
  });
  if (!accepted) {
    attempt->done(Temporary(absl::ResourceExhaustedError("too many logins wait for a hash")));
  }
}

LoginResult Authenticator::Verify(Attempt& attempt) {
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
  memory_.Remember(result.account.account_id, result.account.version, attempt.password);
  result.outcome = LoginResult::Outcome::kAccepted;
  return result;
}

}  // namespace postern::auth
