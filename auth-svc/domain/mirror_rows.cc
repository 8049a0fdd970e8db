#include "auth-svc/domain/mirror_rows.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "auth-svc/domain/upkeep.h"

namespace postern::auth {
namespace {

// Of one address; more stay as they are until they are asked about themselves.
constexpr size_t kMaxAliasesTo = 1000;

}  // namespace

absl::Status MirrorRows::Nothing() {
  absl::StatusOr<std::optional<Account>> account = rows_.FindAccount(asked_);
  if (!account.ok()) return account.status();
  if (account->has_value()) {
    if (!IsTheirs((*account)->origin) || !(*account)->enabled) return absl::OkStatus();
    (*account)->enabled = false;
    return Write([&](DirectoryWriter& w) { return w.UpdateAccount(**account); });
  }
  return DropAlias(asked_);
}

absl::Status MirrorRows::Person(const ExternalEntry& entry) {
  absl::StatusOr<std::optional<Account>> account = rows_.FindAccountByOrigin(source_, entry.id);
  if (!account.ok()) return account.status();
  absl::StatusOr<std::optional<Account>> written =
      account->has_value() ? Keep(**account, entry) : Begin(entry);
  if (!written.ok()) return written.status();
  // Every address of it is ours already.
  if (!written->has_value()) return absl::OkStatus();
  for (const Address& other : entry.addresses) {
    if (other == (*written)->address) continue;
    absl::Status led = Lead(other, {(*written)->address});
    if (!led.ok()) return led;
  }
  return absl::OkStatus();
}

absl::Status MirrorRows::Group(const std::vector<Address>& members) {
  std::vector<Address> targets;
  for (const Address& member : members) {
    if (member == asked_) continue;
    absl::StatusOr<bool> known = IsKnown(member);
    if (!known.ok()) return known.status();
    if (*known) targets.push_back(member);
  }
  return targets.empty() ? DropAlias(asked_) : Lead(asked_, std::move(targets));
}

absl::StatusOr<bool> MirrorRows::IsKnown(const Address& address) {
  absl::StatusOr<std::optional<Account>> account = rows_.FindAccount(address);
  if (!account.ok()) return account.status();
  if (account->has_value()) return true;
  absl::StatusOr<std::optional<Alias>> alias = rows_.FindAlias(address);
  if (!alias.ok()) return alias.status();
  return alias->has_value();
}

absl::StatusOr<std::optional<Account>> MirrorRows::Keep(Account account,
                                                        const ExternalEntry& entry) {
  if (!entry.Has(account.address)) {
    absl::Status moved = absl::FailedPreconditionError(absl::StrCat(
        "account ", account.address.ToString(), " is now ", entry.addresses.front().ToString(),
        " in ", source_, ", and that address is taken"));
    for (const Address& address : entry.addresses) {
      absl::StatusOr<bool> placed = Place(address, entry.id, [&](DirectoryWriter& w) {
        return w.MoveAccount(account.address, address);
      });
      if (!placed.ok()) return placed.status();
      if (!*placed) continue;
      account.address = address;
      moved = absl::OkStatus();
      break;
    }
    if (!moved.ok()) return moved;
  }
  if (account.enabled != entry.enabled || account.origin.stamp != entry.stamp) {
    account.enabled = entry.enabled;
    account.origin.stamp = entry.stamp;
    absl::Status updated = Write([&](DirectoryWriter& w) { return w.UpdateAccount(account); });
    if (!updated.ok()) return updated;
  }
  return account;
}

absl::StatusOr<std::optional<Account>> MirrorRows::Begin(const ExternalEntry& entry) {
  for (const Address& address : entry.addresses) {
    Account account = NewAccount(address, mailbox_shards_);
    account.enabled = entry.enabled;
    account.origin = {source_, entry.id, entry.stamp};
    absl::StatusOr<bool> placed =
        Place(address, entry.id, [&](DirectoryWriter& w) { return w.InsertAccount(account); });
    if (!placed.ok()) return placed.status();
    if (*placed) return account;
  }
  return std::nullopt;
}

absl::Status MirrorRows::Lead(const Address& address, std::vector<Address> targets) {
  absl::StatusOr<std::optional<Alias>> present = rows_.FindAlias(address);
  if (!present.ok()) return present.status();
  const Alias alias{address, std::move(targets), {}, Origin{source_, "", ""}};
  if (!present->has_value()) {
    return Place(address, /*id=*/"", [&](DirectoryWriter& w) { return w.InsertAlias(alias); })
        .status();
  }
  if (!IsTheirs((*present)->origin) || (*present)->targets == alias.targets) {
    return absl::OkStatus();
  }
  return Write([&](DirectoryWriter& w) { return w.UpdateAlias(alias); });
}

absl::StatusOr<bool> MirrorRows::Place(const Address& address, absl::string_view id,
                                       absl::FunctionRef<absl::Status(DirectoryWriter&)> write) {
  absl::StatusOr<std::optional<Account>> account = rows_.FindAccount(address);
  if (!account.ok()) return account.status();
  std::vector<Alias> named_by;
  std::optional<Address> away;
  if (account->has_value()) {
    // The directory said whose the address is that it was asked for, and of no other.
    if (!IsTheirs((*account)->origin) || (*account)->origin.id == id || address != asked_) {
      return false;
    }
    absl::StatusOr<Address> set_aside = SetAside(**account, &named_by);
    if (!set_aside.ok()) return set_aside.status();
    away = *std::move(set_aside);
  }
  absl::StatusOr<std::optional<Alias>> alias = rows_.FindAlias(address);
  if (!alias.ok()) return alias.status();
  if (alias->has_value()) {
    if (!IsTheirs((*alias)->origin)) return false;
    absl::Status dropped = DropAlias(address);
    if (!dropped.ok()) return dropped;
  }
  absl::Status written = Write(write);
  if (!written.ok()) return written;
  for (Alias& one : named_by) {
    std::replace(one.targets.begin(), one.targets.end(), *away, address);
    written = Write([&](DirectoryWriter& w) { return w.UpdateAlias(one); });
    if (!written.ok()) return written;
  }
  return true;
}

absl::StatusOr<Address> MirrorRows::SetAside(Account account, std::vector<Alias>* named_by) {
  absl::StatusOr<std::vector<Address>> names = rows_.FindAliasesTo(account.address, kMaxAliasesTo);
  if (!names.ok()) return names.status();
  const Address from = account.address;
  account.address.local_part = absl::StrCat("gone-", account.account_id);
  absl::Status moved =
      Write([&](DirectoryWriter& w) { return w.MoveAccount(from, account.address); });
  if (!moved.ok()) return moved;
  account.enabled = false;
  absl::Status updated = Write([&](DirectoryWriter& w) { return w.UpdateAccount(account); });
  if (!updated.ok()) return updated;
  for (const Address& name : *names) {
    absl::StatusOr<std::optional<Alias>> alias = rows_.FindAlias(name);
    if (!alias.ok()) return alias.status();
    if (alias->has_value()) named_by->push_back(**std::move(alias));
  }
  return account.address;
}

absl::Status MirrorRows::DropAlias(const Address& address) {
  absl::StatusOr<std::optional<Alias>> alias = rows_.FindAlias(address);
  if (!alias.ok()) return alias.status();
  if (!alias->has_value() || !IsTheirs((*alias)->origin)) return absl::OkStatus();
  absl::StatusOr<std::vector<Address>> names = rows_.FindAliasesTo(address, kMaxAliasesTo);
  if (!names.ok()) return names.status();
  for (const Address& name : *names) {
    absl::StatusOr<std::optional<Alias>> group = rows_.FindAlias(name);
    if (!group.ok()) return group.status();
    if (!group->has_value()) continue;
    if (!IsTheirs((*group)->origin)) {
      return absl::FailedPreconditionError(
          absl::StrCat(source_, " has nothing under ", address.ToString(), " any more, but ",
                       name.ToString(), " leads there: change that alias first"));
    }
    std::erase((*group)->targets, address);
    // Every round takes a name away, so that this ends.
    absl::Status taken = (*group)->targets.empty()
                             ? DropAlias(name)
                             : Write([&](DirectoryWriter& w) { return w.UpdateAlias(**group); });
    if (!taken.ok()) return taken;
  }
  return Write([&](DirectoryWriter& w) { return w.DeleteAlias(address); });
}

absl::Status MirrorRows::Write(absl::FunctionRef<absl::Status(DirectoryWriter&)> write) {
  return writer_ == nullptr ? absl::CancelledError("not written") : write(*writer_);
}

}  // namespace postern::auth
