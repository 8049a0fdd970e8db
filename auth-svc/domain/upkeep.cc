#include "auth-svc/domain/upkeep.h"

#include <algorithm>
#include <deque>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/random/random.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "auth-svc/domain/app_password.h"
#include "services/crypto/random_id.h"
#include "services/crypto/random_octets.h"
#include "services/text/utf8.h"

namespace postern::auth {
namespace {

// As store-svc reads it (store-svc/domain/mailbox_id.h).
std::string NewMailboxId(int32_t shards) {
  absl::BitGen random;
  const int32_t shard = absl::Uniform(random, 0, shards);
  return shard == 0 ? crypto::RandomId() : absl::StrCat(shard, "-", crypto::RandomId());
}

// Enough to know where to begin.
constexpr size_t kNamedInErrors = 5;
// Aliases that lead, over others, to one: what a change of it must check.
constexpr size_t kMaxDependentAliases = 1000;
// Of one account.
constexpr size_t kMaxAppPasswords = 100;
constexpr size_t kMaxAppPasswordName = 64;
constexpr size_t kSrsKeyOctets = 32;

absl::StatusOr<Domain> NeedDomain(DirectoryReader& directory, absl::string_view name) {
  absl::StatusOr<std::optional<Domain>> domain = directory.FindDomain(name);
  if (!domain.ok()) return domain.status();
  if (!domain->has_value()) return absl::NotFoundError(absl::StrCat("there is no domain ", name));
  return **std::move(domain);
}

absl::StatusOr<Account> NeedAccount(DirectoryReader& directory, absl::string_view text) {
  absl::StatusOr<Address> address = CanonicalAddress(text);
  if (!address.ok()) return address.status();
  absl::StatusOr<std::optional<Account>> account = directory.FindAccount(*address);
  if (!account.ok()) return account.status();
  if (account->has_value()) return **std::move(account);
  absl::StatusOr<std::optional<Alias>> alias = directory.FindAlias(*address);
  if (!alias.ok()) return alias.status();
  return absl::NotFoundError(absl::StrCat("there is no account ", address->ToString(),
                                          alias->has_value() ? ": that address is an alias" : ""));
}

absl::StatusOr<Alias> NeedAlias(DirectoryReader& directory, absl::string_view text) {
  absl::StatusOr<Address> address = CanonicalAliasAddress(text);
  if (!address.ok()) return address.status();
  absl::StatusOr<std::optional<Alias>> alias = directory.FindAlias(*address);
  if (!alias.ok()) return alias.status();
  if (alias->has_value()) return **std::move(alias);
  absl::StatusOr<std::optional<Account>> account = directory.FindAccount(*address);
  if (!account.ok()) return account.status();
  return absl::NotFoundError(
      absl::StrCat("there is no alias ", address->ToString(),
                   account->has_value() ? ": that address is an account" : ""));
}

absl::StatusOr<Domain> ChangeDomain(DirectoryWriter& directory, absl::string_view name,
                                    absl::FunctionRef<void(Domain&)> change) {
  absl::StatusOr<std::string> canonical = CanonicalDomain(name);
  if (!canonical.ok()) return canonical.status();
  absl::StatusOr<Domain> domain = NeedDomain(directory, *canonical);
  if (!domain.ok()) return domain;
  change(*domain);
  absl::Status updated = directory.UpdateDomain(*domain);
  if (!updated.ok()) return updated;
  return domain;
}

// That a new account or alias may take `address`.
absl::Status CheckFree(DirectoryReader& directory, const Address& address) {
  absl::StatusOr<Domain> domain = NeedDomain(directory, address.domain);
  if (!domain.ok()) {
    if (!absl::IsNotFound(domain.status())) return domain.status();
    return absl::NotFoundError(absl::StrCat(domain.status().message(), ": add it first"));
  }
  absl::StatusOr<std::optional<Account>> account = directory.FindAccount(address);
  if (!account.ok()) return account.status();
  if (account->has_value()) {
    return absl::AlreadyExistsError(absl::StrCat("there is an account ", address.ToString()));
  }
  absl::StatusOr<std::optional<Alias>> alias = directory.FindAlias(address);
  if (!alias.ok()) return alias.status();
  if (alias->has_value()) {
    return absl::AlreadyExistsError(absl::StrCat("there is an alias ", address.ToString()));
  }
  return absl::OkStatus();
}

absl::Status CheckUnnamed(DirectoryReader& directory, const Address& address) {
  absl::StatusOr<std::vector<Address>> aliases =
      directory.FindAliasesTo(address, kNamedInErrors + 1);
  if (!aliases.ok()) return aliases.status();
  if (aliases->empty()) return absl::OkStatus();
  const bool more = aliases->size() > kNamedInErrors;
  if (more) aliases->pop_back();
  return absl::FailedPreconditionError(absl::StrCat(
      address.ToString(), " is still a target of ",
      absl::StrJoin(*aliases, ", ",
                    [](std::string* out, const Address& a) { out->append(a.ToString()); }),
      more ? " and more" : "", ": change or remove these aliases first"));
}

// What forwards rewrites senders, and answers to these come back for weeks: the key is made once.
absl::Status NeedSrsKey(DirectoryWriter& directory, const Alias& alias) {
  if (alias.forwards.empty()) return absl::OkStatus();
  absl::StatusOr<std::optional<std::string>> key = directory.FindSrsKey();
  if (!key.ok() || key->has_value()) return key.status();
  return directory.InsertSrsKey(absl::BytesToHexString(crypto::RandomOctets(kSrsKeyOctets)));
}

}  // namespace

Account NewAccount(const Address& address, int32_t mailbox_shards) {
  Account account;
  account.account_id = crypto::RandomId();
  account.mailbox_id = NewMailboxId(mailbox_shards);
  account.address = address;
  return account;
}

absl::Status Upkeep::CheckOwn(const Origin& origin, const Address& address) const {
  if (std::find(sources_.begin(), sources_.end(), origin.source) == sources_.end()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      address.ToString(), " comes from the directory ", origin.source, ": change it there"));
}

absl::StatusOr<Account> Upkeep::NeedOwnAccount(DirectoryReader& directory,
                                               absl::string_view text) const {
  absl::StatusOr<Account> account = NeedAccount(directory, text);
  if (!account.ok()) return account;
  absl::Status own = CheckOwn(account->origin, account->address);
  if (!own.ok()) return own;
  return account;
}

absl::StatusOr<Domain> Upkeep::AddDomain(DirectoryWriter& directory, absl::string_view name) const {
  absl::StatusOr<std::string> canonical = CanonicalDomain(name);
  if (!canonical.ok()) return canonical.status();
  absl::StatusOr<std::optional<Domain>> present = directory.FindDomain(*canonical);
  if (!present.ok()) return present.status();
  if (present->has_value()) {
    return absl::AlreadyExistsError(absl::StrCat("there is a domain ", *canonical));
  }
  const Domain domain{*std::move(canonical), /*enabled=*/true};
  absl::Status inserted = directory.InsertDomain(domain);
  if (!inserted.ok()) return inserted;
  return domain;
}

absl::StatusOr<Domain> Upkeep::SetDomainEnabled(DirectoryWriter& directory, absl::string_view name,
                                                bool enabled) const {
  return ChangeDomain(directory, name, [enabled](Domain& domain) { domain.enabled = enabled; });
}

absl::StatusOr<Domain> Upkeep::SetLoginPolicy(DirectoryWriter& directory, absl::string_view name,
                                              LoginPolicy policy) const {
  return ChangeDomain(directory, name, [policy](Domain& domain) { domain.login_policy = policy; });
}

absl::Status Upkeep::RemoveDomain(DirectoryWriter& directory, absl::string_view name) const {
  absl::StatusOr<std::string> canonical = CanonicalDomain(name);
  if (!canonical.ok()) return canonical.status();
  absl::StatusOr<Domain> domain = NeedDomain(directory, *canonical);
  if (!domain.ok()) return domain.status();
  absl::StatusOr<std::optional<Address>> used = directory.FindAnyAddress(*canonical);
  if (!used.ok()) return used.status();
  if (used->has_value()) {
    return absl::FailedPreconditionError(
        absl::StrCat("domain ", *canonical, " still has addresses, among them ",
                     (*used)->ToString(), ": remove its accounts and aliases first"));
  }
  return directory.DeleteDomain(*canonical);
}

absl::StatusOr<Account> Upkeep::AddAccount(DirectoryWriter& directory, absl::string_view address,
                                           StoredPassword password) const {
  absl::StatusOr<Address> canonical = CanonicalAddress(address);
  if (!canonical.ok()) return canonical.status();
  absl::Status is_free = CheckFree(directory, *canonical);
  if (!is_free.ok()) return is_free;
  Account account = NewAccount(*canonical, mailbox_shards_);
  account.password_hash = std::move(password.hash);
  account.scram_sha_256 = std::move(password.scram_sha_256);
  absl::Status inserted = directory.InsertAccount(account);
  if (!inserted.ok()) return inserted;
  return account;
}

absl::Status Upkeep::SetPassword(DirectoryWriter& directory, absl::string_view address,
                                 StoredPassword password) const {
  absl::StatusOr<Account> account = NeedOwnAccount(directory, address);
  if (!account.ok()) return account.status();
  account->password_hash = std::move(password.hash);
  account->scram_sha_256 = std::move(password.scram_sha_256);
  // Whose directory is there no more is ours from now on.
  account->origin = {};
  return directory.UpdateAccount(*account);
}

absl::Status Upkeep::SetAccountEnabled(DirectoryWriter& directory, absl::string_view address,
                                       bool enabled) const {
  absl::StatusOr<Account> account = NeedOwnAccount(directory, address);
  if (!account.ok()) return account.status();
  account->enabled = enabled;
  return directory.UpdateAccount(*account);
}

absl::Status Upkeep::RemoveAccount(DirectoryWriter& directory, absl::string_view address) const {
  absl::StatusOr<Account> account = NeedAccount(directory, address);
  if (!account.ok()) return account.status();
  // Enabled, it would come again, with another mailbox.
  absl::Status own = CheckOwn(account->origin, account->address);
  if (account->enabled && !own.ok()) return own;
  absl::Status unnamed = CheckUnnamed(directory, account->address);
  if (!unnamed.ok()) return unnamed;
  return directory.DeleteAccount(account->address);
}

absl::StatusOr<AppPassword> Upkeep::AddAppPassword(DirectoryWriter& directory,
                                                   absl::string_view address, AppPassword asked,
                                                   absl::string_view password) const {
  absl::StatusOr<Account> account = NeedAccount(directory, address);
  if (!account.ok()) return account.status();
  if (asked.name.empty() || asked.name.size() > kMaxAppPasswordName || !text::IsUtf8(asked.name) ||
      std::any_of(asked.name.begin(), asked.name.end(),
                  [](unsigned char c) { return absl::ascii_iscntrl(c); })) {
    return absl::InvalidArgumentError(absl::StrCat("the name of an application password is 1 to ",
                                                   kMaxAppPasswordName,
                                                   " octets of UTF-8 without control characters"));
  }
  if (!asked.pop3 && !asked.submission) {
    return absl::InvalidArgumentError("an application password is for POP3, submission or both");
  }
  absl::StatusOr<std::vector<AppPassword>> present =
      directory.ListAppPasswords(account->account_id);
  if (!present.ok()) return present.status();
  if (present->size() >= kMaxAppPasswords) {
    return absl::FailedPreconditionError(absl::StrCat(account->address.ToString(), " has ",
                                                      present->size(),
                                                      " application passwords: remove one first"));
  }
  for (const AppPassword& one : *present) {
    if (one.name != asked.name) continue;
    return absl::AlreadyExistsError(absl::StrCat(account->address.ToString(),
                                                 " has an application password \"", one.name,
                                                 "\": take another name, or remove it first"));
  }
  asked.account_id = account->account_id;
  std::optional<std::string> hash = AppPasswordHash(account->account_id, password);
  if (!hash.has_value()) return absl::InternalError("that is no application password");
  asked.hash = *std::move(hash);
  absl::Status inserted = directory.InsertAppPassword(asked);
  if (!inserted.ok()) return inserted;
  return asked;
}

absl::Status Upkeep::RemoveAppPassword(DirectoryWriter& directory, absl::string_view address,
                                       absl::string_view name) const {
  absl::StatusOr<Account> account = NeedAccount(directory, address);
  if (!account.ok()) return account.status();
  return directory.DeleteAppPassword(account->account_id, name);
}

absl::StatusOr<std::vector<AppPassword>> Upkeep::ListAppPasswords(DirectoryReader& directory,
                                                                  absl::string_view address) const {
  absl::StatusOr<Account> account = NeedAccount(directory, address);
  if (!account.ok()) return account.status();
  return directory.ListAppPasswords(account->account_id);
}

absl::StatusOr<Alias> Upkeep::ReadAlias(DirectoryReader& directory, const NewAlias& asked) const {
  absl::StatusOr<Address> canonical = CanonicalAliasAddress(asked.address);
  if (!canonical.ok()) return canonical.status();
  Alias alias;
  alias.address = *std::move(canonical);
  if (asked.targets.empty() && asked.forwards.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("alias ", alias.address.ToString(), " needs at least one target or forward"));
  }
  if (asked.targets.size() + asked.forwards.size() > static_cast<size_t>(limits_.max_mailboxes)) {
    return absl::FailedPreconditionError(
        absl::StrCat("alias ", alias.address.ToString(), " names more than ", limits_.max_mailboxes,
                     " targets and forwards (max_alias_mailboxes)"));
  }
  absl::flat_hash_set<Address> seen;
  for (const std::string& text : asked.targets) {
    absl::StatusOr<Address> target = CanonicalAddress(text);
    if (!target.ok()) return target.status();
    if (*target == alias.address) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the alias would lead back to itself: ", target->ToString(), " -> ", target->ToString()));
    }
    if (!seen.insert(*target).second) continue;
    absl::StatusOr<std::optional<Domain>> domain = directory.FindDomain(target->domain);
    if (!domain.ok()) return domain.status();
    if (!domain->has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("target ", target->ToString(), " is not local: ", target->domain,
                       " is none of our domains; an alias leads elsewhere by a forward (posternctl "
                       "alias add --forward, account import --forward-outside)"));
    }
    absl::StatusOr<std::optional<Account>> account = directory.FindAccount(*target);
    if (!account.ok()) return account.status();
    if (!account->has_value()) {
      absl::StatusOr<std::optional<Alias>> other = directory.FindAlias(*target);
      if (!other.ok()) return other.status();
      if (!other->has_value()) {
        return absl::NotFoundError(absl::StrCat(
            "target ", target->ToString(),
            " is neither an account nor an alias: add it first (and without a sub-address)"));
      }
    }
    alias.targets.push_back(*std::move(target));
  }
  for (const std::string& text : asked.forwards) {
    absl::StatusOr<Address> forward = ForwardAddress(text);
    if (!forward.ok()) return forward.status();
    absl::StatusOr<std::optional<Domain>> domain = directory.FindDomain(forward->domain);
    if (!domain.ok()) return domain.status();
    if (domain->has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("forward ", forward->ToString(),
                       " is in a domain of this directory: give it as a target"));
    }
    if (seen.insert(*forward).second) alias.forwards.push_back(*std::move(forward));
  }
  return alias;
}

absl::Status Upkeep::CheckExpansions(DirectoryReader& directory, const Address& changed) const {
  std::deque<Address> waiting = {changed};
  absl::flat_hash_set<Address> seen = {changed};
  while (!waiting.empty()) {
    const Address address = std::move(waiting.front());
    waiting.pop_front();
    absl::StatusOr<std::vector<Account>> accounts = resolver_.Expand(directory, address);
    if (!accounts.ok()) return accounts.status();
    absl::StatusOr<std::vector<Address>> parents =
        directory.FindAliasesTo(address, kMaxDependentAliases + 1);
    if (!parents.ok()) return parents.status();
    for (Address& parent : *parents) {
      if (!seen.insert(parent).second) continue;
      if (seen.size() > kMaxDependentAliases) {
        return absl::FailedPreconditionError(absl::StrCat("more than ", kMaxDependentAliases,
                                                          " aliases lead to ", changed.ToString(),
                                                          ", too many to check"));
      }
      waiting.push_back(std::move(parent));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Alias> Upkeep::AddAlias(DirectoryWriter& directory, const NewAlias& asked) const {
  absl::StatusOr<Address> address = CanonicalAliasAddress(asked.address);
  if (!address.ok()) return address.status();
  // First: what is there already stays, wherever another one would lead.
  absl::Status is_free = CheckFree(directory, *address);
  if (!is_free.ok()) return is_free;
  absl::StatusOr<Alias> alias = ReadAlias(directory, asked);
  if (!alias.ok()) return alias;
  absl::Status inserted = directory.InsertAlias(*alias);
  if (inserted.ok()) inserted = NeedSrsKey(directory, *alias);
  if (!inserted.ok()) return inserted;
  // Nothing can name it yet, but it may itself lead too far.
  absl::Status checked = CheckExpansions(directory, alias->address);
  if (!checked.ok()) return checked;
  return alias;
}

absl::StatusOr<Alias> Upkeep::SetAliasTargets(DirectoryWriter& directory,
                                              const NewAlias& asked) const {
  absl::StatusOr<Alias> present = NeedAlias(directory, asked.address);
  if (!present.ok()) return present;
  absl::Status own = CheckOwn(present->origin, present->address);
  if (!own.ok()) return own;
  absl::StatusOr<Alias> alias = ReadAlias(directory, asked);
  if (!alias.ok()) return alias;
  alias->senders_listed = present->senders_listed;
  absl::Status updated = directory.UpdateAlias(*alias);
  if (updated.ok()) updated = NeedSrsKey(directory, *alias);
  if (!updated.ok()) return updated;
  absl::Status checked = CheckExpansions(directory, alias->address);
  if (!checked.ok()) return checked;
  return alias;
}

absl::StatusOr<Alias> Upkeep::SetAliasSenders(DirectoryWriter& directory, absl::string_view address,
                                              bool members,
                                              absl::Span<const std::string> accounts) const {
  absl::StatusOr<Alias> alias = NeedAlias(directory, address);
  if (!alias.ok()) return alias;
  absl::Status own = CheckOwn(alias->origin, alias->address);
  if (!own.ok()) return own;
  if (alias->address.local_part.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("nobody sends as a catch-all: ", alias->address.ToString()));
  }
  if (members && !accounts.empty()) {
    return absl::InvalidArgumentError("either its members may send as it, or the accounts given");
  }
  if (accounts.size() > static_cast<size_t>(limits_.max_mailboxes)) {
    return absl::FailedPreconditionError(
        absl::StrCat("more than ", limits_.max_mailboxes, " senders (max_alias_mailboxes)"));
  }
  absl::flat_hash_set<std::string> ids;
  for (const std::string& text : accounts) {
    absl::StatusOr<Account> account = NeedAccount(directory, text);
    if (!account.ok()) return account.status();
    ids.insert(account->account_id);
  }
  alias->senders_listed = !members;
  absl::Status set = directory.SetAliasSenders(alias->address, alias->senders_listed,
                                               std::vector<std::string>(ids.begin(), ids.end()));
  if (!set.ok()) return set;
  return alias;
}

absl::Status Upkeep::RemoveAlias(DirectoryWriter& directory, absl::string_view address) const {
  absl::StatusOr<Alias> alias = NeedAlias(directory, address);
  if (!alias.ok()) return alias.status();
  absl::Status own = CheckOwn(alias->origin, alias->address);
  if (!own.ok()) return own;
  absl::Status unnamed = CheckUnnamed(directory, alias->address);
  if (!unnamed.ok()) return unnamed;
  return directory.DeleteAlias(alias->address);
}

}  // namespace postern::auth
