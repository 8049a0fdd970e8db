#include "auth-svc/domain/login_trial.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "auth-svc/domain/app_password.h"
#include "auth-svc/domain/login.h"
#include "auth-svc/domain/stored_hash.h"

namespace postern::auth {

using Outcome = TriedLogin::Outcome;

struct LoginTrial::Trial {
  std::optional<std::string> password;
  std::string text;
  Address address;
  std::vector<std::string> steps;
  Done done;

  template <typename... Parts>
  void Say(const Parts&... parts) {
    steps.push_back(absl::StrCat(parts...));
  }
  void End(Outcome outcome) { done({outcome, std::move(steps)}); }

  ~Trial() {
    if (password.has_value()) Wipe(&*password);
  }
};

void LoginTrial::Run(std::string address, std::optional<std::string> password, Done done) {
  auto trial = std::make_shared<Trial>();
  trial->password = std::move(password);
  trial->text = std::move(address);
  trial->done = std::move(done);
  if (hashing_.Submit([this, trial] { Begin(trial); })) return;
  trial->Say("too many logins wait for a hash");
  trial->End(Outcome::kTemporary);
}

void LoginTrial::Begin(const std::shared_ptr<Trial>& trial) {
  absl::StatusOr<Address> address = CanonicalAddress(trial->text);
  if (!address.ok()) {
    trial->Say("nobody can be called that: ", address.status().message());
    trial->End(Outcome::kRefused);
    return;
  }
  trial->address = *address;
  std::optional<Domain> domain;
  std::optional<Account> account;
  std::optional<Alias> alias;
  LoginPolicy policy = LoginPolicy::kAny;
  std::vector<AppPassword> app_passwords;
  const absl::Status read = directory_.Read([&](DirectoryReader& rows) -> absl::Status {
    absl::StatusOr<std::optional<Domain>> d = rows.FindDomain(address->domain);
    absl::StatusOr<LoginAccount> a = FindLogin(rows, mirror_, *address);
    absl::StatusOr<std::optional<Alias>> other = rows.FindAlias(*address);
    for (const absl::Status& status : {d.status(), a.status(), other.status()}) {
      if (!status.ok()) return status;
    }
    domain = *std::move(d);
    account = std::move(a->account);
    policy = a->policy;
    alias = *std::move(other);
    if (!account.has_value()) return absl::OkStatus();
    absl::StatusOr<std::vector<AppPassword>> passwords = rows.ListAppPasswords(account->account_id);
    if (passwords.ok()) app_passwords = *std::move(passwords);
    return passwords.status();
  });
  if (!read.ok()) {
    trial->Say("the database gives no answer: ", read.ToString());
    trial->End(Outcome::kTemporary);
    return;
  }
  if (!domain.has_value()) {
    trial->Say(address->domain, " is none of our domains");
    trial->End(Outcome::kRefused);
    return;
  }
  trial->Say(address->domain, " is one of our domains", domain->enabled ? "" : ", disabled");
  if (TryAppPasswords(*trial, account, app_passwords)) return;
  if (policy == LoginPolicy::kNoPasswords) {
    trial->Say("its login policy is no-passwords: an account's own password is not taken");
    if (trial->password.has_value()) {
      trial->End(Outcome::kRefused);
      return;
    }
  }
  if (account.has_value() && !account->origin.external()) {
    trial->End(ReadAccount(*trial, *account, /*check_password=*/true));
  } else if (account.has_value() && !mirror_.Covers(*address)) {
    trial->Say("the account came from the directory ", account->origin.source,
               ", which is configured no more: nobody logs in before posternctl account "
               "set-password");
    trial->End(Outcome::kRefused);
  } else if (mirror_.Covers(*address)) {
    AskElsewhere(trial);
  } else {
    if (alias.has_value()) {
      std::vector<std::string> leads;
      for (const std::vector<Address>& some : {alias->targets, alias->forwards}) {
        for (const Address& one : some) leads.push_back(one.ToString());
      }
      trial->Say(address->ToString(), " is an alias to ", absl::StrJoin(leads, ", "),
                 ": nobody logs in as an alias");
    } else {
      trial->Say("there is no account ", address->ToString());
    }
    trial->End(Outcome::kRefused);
  }
}

bool LoginTrial::TryAppPasswords(Trial& trial, const std::optional<Account>& account,
                                 const std::vector<AppPassword>& app_passwords) {
  if (app_passwords.empty()) return false;
  trial.Say("the account has ", app_passwords.size(), " application password",
            app_passwords.size() == 1 ? "" : "s");
  if (!trial.password.has_value()) return false;
  const std::optional<std::string> hash = AppPasswordHash(account->account_id, *trial.password);
  for (const AppPassword& one : app_passwords) {
    if (one.hash != hash) continue;
    trial.Say("the password is the application password ", one.name, ", for ",
              one.pop3 && one.submission ? "POP3 and submission"
              : one.pop3                 ? "POP3 alone"
                                         : "submission alone");
    Wipe(&*trial.password);
    trial.password.reset();
    const Outcome found = ReadAccount(trial, *account, /*check_password=*/false);
    trial.End(found == Outcome::kFound ? Outcome::kAccepted : found);
    return true;
  }
  return false;
}

TriedLogin::Outcome LoginTrial::ReadAccount(Trial& trial, const Account& account,
                                            bool check_password) {
  const bool may = account.enabled && account.domain_enabled;
  trial.Say("the account is ", account.address.ToString(), account.enabled ? "" : ", disabled",
            ", with mailbox ", account.mailbox_id);
  if (check_password) {
    trial.Say("its password is kept here, as ", SchemeOf(account.password_hash),
              account.scram_sha_256.empty() ? "" : ", and for SCRAM");
    if (trial.password.has_value()) {
      absl::StatusOr<bool> matches = hasher_.Verify(account.password_hash, *trial.password);
      if (!matches.ok()) {
        trial.Say("the hash cannot be computed: ", matches.status().ToString());
        return Outcome::kTemporary;
      }
      trial.Say("the password is ", *matches ? "right" : "wrong");
      if (!*matches) return Outcome::kRefused;
    }
  }
  if (!may) return Outcome::kRefused;
  return trial.password.has_value() ? Outcome::kAccepted : Outcome::kFound;
}

void LoginTrial::AskElsewhere(const std::shared_ptr<Trial>& trial) {
  const std::string& source = mirror_.NameOf(trial->address);
  trial->Say("its people are in the directory ", source);
  // An empty password is refused there, and who it is is said all the same.
  mirror_.LogIn(
      trial->address, trial->password.value_or(""),
      [this, trial, source](absl::StatusOr<ExternalLogin> login, std::optional<Account> account) {
        if (!login.ok()) {
          trial->Say(source, " gives no answer: ", login.status().ToString());
          trial->End(Outcome::kTemporary);
          return;
        }
        if (login->entry.has_value()) {
          const ExternalEntry& entry = *login->entry;
          switch (entry.kind) {
            case ExternalEntry::Kind::kNothing:
              trial->Say("it has nobody under ", trial->address.ToString());
              break;
            case ExternalEntry::Kind::kGroup:
              trial->Say("that is a group there, at ", entry.place, ": nobody logs in as a group");
              break;
            case ExternalEntry::Kind::kPerson:
              trial->Say("that is ", entry.place, entry.enabled ? "" : ", disabled there");
              break;
          }
        }
        if (trial->password.has_value()) {
          trial->Say("the password is ", login->right ? "right" : "wrong",
                     login->detail.empty() ? "" : absl::StrCat(" (", login->detail, ")"));
        }
        if (!account.has_value()) {
          if (login->right) trial->Say("every address of that person is taken by another of ours");
          trial->End(Outcome::kRefused);
          return;
        }
        const Outcome outcome = ReadAccount(*trial, *account, /*check_password=*/false);
        trial->End(trial->password.has_value() && !login->right ? Outcome::kRefused : outcome);
      });
}

}  // namespace postern::auth
