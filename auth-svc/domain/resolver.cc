#include "auth-svc/domain/resolver.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "auth-svc/domain/srs.h"
#include "services/protocol/mail/address.h"

namespace postern::auth {
namespace {

constexpr absl::string_view kPostmaster = "postmaster";

void Note(const Origin& origin, const Address& address, std::vector<Address>* not_ours) {
  if (not_ours != nullptr && origin.external()) not_ours->push_back(address);
}

// Depth first over aliases. A loop is an alias that is met while it is still being followed.
class Expansion {
 public:
  Expansion(DirectoryReader& directory, const AliasLimits& limits, std::vector<Address>* not_ours)
      : directory_(directory), limits_(limits), not_ours_(not_ours) {}

  absl::Status Follow(const Alias& alias) {
    absl::StatusOr<int> height = Visit(alias);
    return height.ok() ? absl::OkStatus() : height.status();
  }

  // `accounts`, enabled or not, and `forwards`.
  Resolution Take() && {
    Resolution found;
    found.accounts = std::move(accounts_);
    found.forwards = std::move(forwards_);
    return found;
  }

 private:
  // Recursion is bounded by max_depth. Returns how many aliases lie on the longest way from here.
  absl::StatusOr<int> Visit(const Alias& alias) {
    path_.push_back(alias.address);
    if (path_.size() > static_cast<size_t>(limits_.max_depth)) return TooDeep();
    if (heights_.size() >=
        static_cast<size_t>(limits_.max_mailboxes) + static_cast<size_t>(limits_.max_depth)) {
      return TooMany();
    }
    heights_[alias.address] = kOnPath;
    int height = 1;
    for (const Address& target : alias.targets) {
      absl::StatusOr<int> below = VisitTarget(target);
      if (!below.ok()) return below;
      height = std::max(height, 1 + *below);
    }
    for (const Address& forward : alias.forwards) {
      if (!seen_.insert(forward).second) continue;
      if (IsFull()) return TooMany();
      forwards_.push_back(forward);
    }
    path_.pop_back();
    heights_[alias.address] = height;
    return height;
  }

  absl::StatusOr<int> VisitTarget(const Address& target) {
    auto seen = heights_.find(target);
    if (seen != heights_.end()) {
      if (seen->second == kOnPath) return Loop(target);
      if (path_.size() + seen->second > static_cast<size_t>(limits_.max_depth)) return TooDeep();
      return seen->second;
    }
    absl::StatusOr<std::optional<Account>> account = directory_.FindAccount(target);
    if (!account.ok()) return account.status();
    if (account->has_value()) {
      Note((*account)->origin, target, not_ours_);
      if (seen_.insert(target).second) {
        if (IsFull()) return TooMany();
        accounts_.push_back(**std::move(account));
      }
      return 0;
    }
    absl::StatusOr<std::optional<Alias>> alias = directory_.FindAlias(target);
    if (!alias.ok()) return alias.status();
    // The directory keeps targets from being removed: not reached with a sound database.
    if (!alias->has_value()) return 0;
    Note((*alias)->origin, target, not_ours_);
    return Visit(**alias);
  }

  bool IsFull() const {
    return accounts_.size() + forwards_.size() >= static_cast<size_t>(limits_.max_mailboxes);
  }

  absl::Status Loop(const Address& target) const {
    auto start = std::find(path_.begin(), path_.end(), target);
    std::vector<std::string> names;
    for (auto it = start; it != path_.end(); ++it) names.push_back(it->ToString());
    names.push_back(target.ToString());
    return absl::FailedPreconditionError(
        absl::StrCat("the alias would lead back to itself: ", absl::StrJoin(names, " -> ")));
  }

  absl::Status TooDeep() const {
    return absl::FailedPreconditionError(
        absl::StrCat("alias ", path_.front().ToString(), " would lead through more than ",
                     limits_.max_depth, " aliases to a mailbox (max_alias_depth)"));
  }

  absl::Status TooMany() const {
    return absl::FailedPreconditionError(absl::StrCat(
        "alias ", path_.front().ToString(), " would lead to more than ", limits_.max_mailboxes,
        " mailboxes, addresses elsewhere or aliases (max_alias_mailboxes)"));
  }

  static constexpr int kOnPath = -1;
  DirectoryReader& directory_;
  const AliasLimits& limits_;
  std::vector<Address>* const not_ours_;
  std::vector<Address> path_;
  absl::flat_hash_map<Address, int> heights_;
  // Accounts and forwards: none is both.
  absl::flat_hash_set<Address> seen_;
  std::vector<Account> accounts_;
  std::vector<Address> forwards_;
};

bool Usable(const Account& account) { return account.enabled && account.domain_enabled; }

// As CanonicalAddress has it.
Address Ours(const Address& given) {
  return {mail::CanonicalLocalPart(given.local_part), given.domain};
}

Resolution Only(Resolution::Outcome outcome) {
  Resolution only;
  only.outcome = outcome;
  return only;
}

// Whom the local part of an SRS address of ours stands for.
absl::StatusOr<std::optional<Address>> FindOriginal(DirectoryReader& directory,
                                                    absl::string_view local_part, absl::Time now) {
  // Most bounces are for accounts, and need no key.
  if (!absl::StartsWithIgnoreCase(local_part, "SRS")) return std::optional<Address>();
  absl::StatusOr<std::optional<std::string>> key = directory.FindSrsKey();
  if (!key.ok()) return key.status();
  if (!key->has_value()) return std::optional<Address>();
  const std::optional<std::string> text = OriginalSender(local_part, **key, now);
  if (!text.has_value()) return std::optional<Address>();
  absl::StatusOr<Address> original = ForwardAddress(*text);
  if (!original.ok()) return std::optional<Address>();
  return std::optional<Address>(*std::move(original));
}

// Of what an address in `domain_name` forwards.
absl::StatusOr<std::string> ForwardSender(DirectoryReader& directory, absl::string_view sender,
                                          absl::string_view domain_name, absl::Time now) {
  if (sender.empty()) return std::string();
  const absl::StatusOr<Address> address = CanonicalAddress(sender);
  // There is nothing to lead back to.
  if (!address.ok()) return std::string(sender);
  absl::StatusOr<std::optional<Domain>> domain = directory.FindDomain(address->domain);
  if (!domain.ok()) return domain.status();
  if (domain->has_value()) return std::string(sender);
  absl::StatusOr<std::optional<std::string>> key = directory.FindSrsKey();
  if (!key.ok()) return key.status();
  // Made with the first forward: not reached with a sound database.
  if (!key->has_value()) return std::string(sender);
  return RewriteSender(sender, domain_name, **key, now);
}

}  // namespace

absl::StatusOr<Resolution> Resolver::Resolve(DirectoryReader& directory, absl::string_view text,
                                             absl::string_view sender, absl::Time now,
                                             std::vector<Address>* not_ours) const {
  absl::StatusOr<Resolution> resolution;
  std::string domain_name;
  if (absl::EqualsIgnoreCase(text, kPostmaster)) {
    absl::StatusOr<std::optional<Domain>> domain = directory.FindOldestDomain();
    if (!domain.ok()) return domain.status();
    if (!domain->has_value()) {
      return absl::FailedPreconditionError(
          "there is no enabled domain, so nobody is postmaster: add a domain and an account");
    }
    domain_name = (*domain)->name;
    resolution = ResolvePostmaster(directory, domain_name, not_ours);
  } else {
    // An SRS address has somebody else's local part in it.
    absl::StatusOr<Address> given = ForwardAddress(text);
    if (!given.ok()) return given.status();
    domain_name = given->domain;
    absl::StatusOr<std::optional<Address>> original = std::optional<Address>();
    if (sender.empty()) original = FindOriginal(directory, given->local_part, now);
    if (!original.ok()) return original.status();
    resolution = ResolveRecipient(directory, Ours(*given), *original, not_ours);
  }
  if (!resolution.ok() || resolution->forwards.empty()) return resolution;
  absl::StatusOr<std::string> forward_sender = ForwardSender(directory, sender, domain_name, now);
  if (!forward_sender.ok()) return forward_sender.status();
  resolution->forward_sender = *std::move(forward_sender);
  return resolution;
}

absl::StatusOr<Resolution> Resolver::ResolveAddress(DirectoryReader& directory,
                                                    const Address& address,
                                                    std::vector<Address>* not_ours) const {
  if (address.local_part == kPostmaster) {
    return ResolvePostmaster(directory, address.domain, not_ours);
  }
  absl::StatusOr<Resolution> exact = ResolveExact(directory, address, not_ours);
  if (!exact.ok() || exact->outcome != Resolution::Outcome::kUnknown) return exact;

  absl::StatusOr<std::optional<Domain>> domain = directory.FindDomain(address.domain);
  if (!domain.ok()) return domain.status();
  if (!domain->has_value()) return Only(Resolution::Outcome::kNotLocal);
  if (!(*domain)->enabled) return Only(Resolution::Outcome::kDisabled);
  const std::vector<Address> forms = Forms(address);
  if (forms.size() == 1) return exact;
  const Address& base = forms.back();
  if (base.local_part == kPostmaster) return ResolvePostmaster(directory, base.domain, not_ours);
  return ResolveExact(directory, base, not_ours);
}

absl::StatusOr<Resolution> Resolver::ResolveRecipient(DirectoryReader& directory,
                                                      const Address& address,
                                                      const std::optional<Address>& original,
                                                      std::vector<Address>* not_ours) const {
  absl::StatusOr<Resolution> named = ResolveAddress(directory, address, not_ours);
  if (!named.ok() || named->outcome != Resolution::Outcome::kUnknown) return named;
  if (!original.has_value()) return ResolveExact(directory, {"", address.domain}, not_ours);
  absl::StatusOr<std::optional<Domain>> domain = directory.FindDomain(original->domain);
  if (!domain.ok()) return domain.status();
  if (domain->has_value()) {
    // It has become ours. Once is enough: no address of ours was rewritten.
    return ResolveRecipient(directory, Ours(*original), /*original=*/std::nullopt, not_ours);
  }
  Resolution back;
  back.outcome = Resolution::Outcome::kLocal;
  back.forwards.push_back(*original);
  return back;
}

std::vector<Address> Resolver::Forms(const Address& address) const {
  std::vector<Address> forms = {address};
  const size_t at = separator_.empty() ? std::string::npos : address.local_part.find(separator_);
  // "+list" has no user part; it is a name of its own or none.
  if (at != std::string::npos && at != 0) {
    forms.push_back({address.local_part.substr(0, at), address.domain});
  }
  return forms;
}

absl::StatusOr<Resolution> Resolver::ResolveExact(DirectoryReader& directory,
                                                  const Address& address,
                                                  std::vector<Address>* not_ours) const {
  absl::StatusOr<std::optional<Account>> account = directory.FindAccount(address);
  if (!account.ok()) return account.status();
  Resolution result;
  if (account->has_value()) {
    Note((*account)->origin, address, not_ours);
    if (!Usable(**account)) return Only(Resolution::Outcome::kDisabled);
    result.outcome = Resolution::Outcome::kLocal;
    result.accounts.push_back(**std::move(account));
    return result;
  }
  absl::StatusOr<std::optional<Alias>> alias = directory.FindAlias(address);
  if (!alias.ok()) return alias.status();
  if (!alias->has_value()) {
    // A catch-all is nobody's but ours.
    if (not_ours != nullptr && !address.local_part.empty()) not_ours->push_back(address);
    return Only(Resolution::Outcome::kUnknown);
  }
  Note((*alias)->origin, address, not_ours);
  absl::StatusOr<std::optional<Domain>> domain = directory.FindDomain(address.domain);
  if (!domain.ok()) return domain.status();
  if (!domain->has_value() || !(*domain)->enabled) return Only(Resolution::Outcome::kDisabled);
  Expansion expansion(directory, limits_, not_ours);
  absl::Status followed = expansion.Follow(**alias);
  if (!followed.ok()) return followed;
  result = std::move(expansion).Take();
  if ((*alias)->senders_listed) result.listed_senders_of = address;
  std::erase_if(result.accounts, [](const Account& a) { return !Usable(a); });
  result.outcome = result.accounts.empty() && result.forwards.empty()
                       ? Resolution::Outcome::kDisabled
                       : Resolution::Outcome::kLocal;
  return result;
}

// RFC 5321 4.5.1: postmaster is there in every domain that we take mail for. Its own account or
// alias comes first; else the domain's oldest account stands in, else the oldest of all.
absl::StatusOr<Resolution> Resolver::ResolvePostmaster(DirectoryReader& directory,
                                                       absl::string_view domain_name,
                                                       std::vector<Address>* not_ours) const {
  absl::StatusOr<std::optional<Domain>> domain = directory.FindDomain(domain_name);
  if (!domain.ok()) return domain.status();
  if (!domain->has_value()) return Only(Resolution::Outcome::kNotLocal);
  if (!(*domain)->enabled) return Only(Resolution::Outcome::kDisabled);

  absl::StatusOr<Resolution> own = ResolveExact(
      directory, Address{std::string(kPostmaster), std::string(domain_name)}, not_ours);
  if (!own.ok() || own->outcome == Resolution::Outcome::kLocal) return own;
  for (absl::string_view where : {domain_name, absl::string_view()}) {
    absl::StatusOr<std::optional<Account>> oldest = directory.FindOldestAccount(where);
    if (!oldest.ok()) return oldest.status();
    if (oldest->has_value()) {
      Resolution result;
      result.outcome = Resolution::Outcome::kLocal;
      result.accounts.push_back(**std::move(oldest));
      return result;
    }
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "there is no enabled account that could be postmaster@", domain_name, ": add an account"));
}

absl::StatusOr<bool> Resolver::MaySendAs(DirectoryReader& directory, absl::string_view account_id,
                                         absl::Span<const std::string> addresses,
                                         std::vector<Address>* not_ours) const {
  absl::StatusOr<std::optional<Account>> account = directory.FindAccountById(account_id);
  if (!account.ok()) return account.status();
  if (!account->has_value()) return false;
  Note((*account)->origin, (*account)->address, not_ours);
  if (!Usable(**account)) return false;
  for (const std::string& text : addresses) {
    absl::StatusOr<Address> address = CanonicalAddress(text);
    if (!address.ok()) return false;
    absl::StatusOr<Resolution> resolution = ResolveAddress(directory, *address, not_ours);
    if (!resolution.ok()) return resolution.status();
    absl::StatusOr<std::vector<Account>> senders = std::move(resolution->accounts);
    if (resolution->listed_senders_of.has_value()) {
      senders = directory.ListAliasSenders(*resolution->listed_senders_of);
    }
    if (!senders.ok()) return senders.status();
    if (std::none_of(senders->begin(), senders->end(),
                     [&](const Account& a) { return a.account_id == account_id; })) {
      return false;
    }
  }
  return true;
}

absl::StatusOr<std::vector<Account>> Resolver::Expand(DirectoryReader& directory,
                                                      const Address& address) const {
  absl::StatusOr<std::optional<Alias>> alias = directory.FindAlias(address);
  if (!alias.ok()) return alias.status();
  if (!alias->has_value()) {
    return absl::NotFoundError(absl::StrCat("there is no alias ", address.ToString()));
  }
  Expansion expansion(directory, limits_, /*not_ours=*/nullptr);
  absl::Status followed = expansion.Follow(**alias);
  if (!followed.ok()) return followed;
  return std::move(expansion).Take().accounts;
}

}  // namespace postern::auth
