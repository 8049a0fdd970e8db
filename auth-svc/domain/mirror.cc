#include "auth-svc/domain/mirror.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "auth-svc/domain/password.h"
#include "auth-svc/domain/upkeep.h"
#include "services/process/worker_pool.h"
#include "services/telemetry/log.h"

namespace postern::auth {
namespace {

// Questions that wait for a thread; one more is RESOURCE_EXHAUSTED.
constexpr size_t kMaxWaiting = 2000;
// The same address is asked about by one at a time; so are others that share its lock.
constexpr size_t kLocks = 64;
// Of one address; more stay as they are until they are asked about themselves.
constexpr size_t kMaxAliasesTo = 1000;
// Groups in groups, as far as they must be known to write a group down.
constexpr int kMaxDepth = 10;

bool Holds(const std::vector<Address>& addresses, const Address& address) {
  return std::find(addresses.begin(), addresses.end(), address) != addresses.end();
}

void LogNoAnswer(const std::string& directory, const Address& address, const absl::Status& status) {
  telemetry::Log(
      telemetry::LogLevel::kWarning, "external directory gives no answer",
      {{"directory", directory}, {"address", address.ToString()}, {"status", status.ToString()}});
}

// Brings the rows of one transaction to what an external directory has. Without a writer: CANCELLED
// when there is anything to write.
class Writing {
 public:
  // `asked`: the address whose owner the directory was asked for.
  Writing(DirectoryReader& rows, DirectoryWriter* writer, const std::string& source,
          const Address& asked, int32_t mailbox_shards)
      : rows_(rows),
        writer_(writer),
        source_(source),
        asked_(asked),
        mailbox_shards_(mailbox_shards) {}

  absl::Status Nothing() {
    absl::StatusOr<std::optional<Account>> account = rows_.FindAccount(asked_);
    if (!account.ok()) return account.status();
    if (account->has_value()) {
      if (!IsTheirs((*account)->origin) || !(*account)->enabled) return absl::OkStatus();
      (*account)->enabled = false;
      return Write([&](DirectoryWriter& w) { return w.UpdateAccount(**account); });
    }
    return DropAlias(asked_);
  }

  // `entry.addresses`: at least one, all in domains of the source.
  absl::Status Person(const ExternalEntry& entry) {
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

  // `members`: those that the rows have are led to.
  absl::Status Group(const std::vector<Address>& members) {
    std::vector<Address> targets;
    for (const Address& member : members) {
      if (member == asked_) continue;
      absl::StatusOr<bool> known = IsKnown(member);
      if (!known.ok()) return known.status();
      if (*known) targets.push_back(member);
    }
    return targets.empty() ? DropAlias(asked_) : Lead(asked_, std::move(targets));
  }

 private:
  bool IsTheirs(const Origin& origin) const { return origin.source == source_; }

  absl::StatusOr<bool> IsKnown(const Address& address) {
    absl::StatusOr<std::optional<Account>> account = rows_.FindAccount(address);
    if (!account.ok()) return account.status();
    if (account->has_value()) return true;
    absl::StatusOr<std::optional<Alias>> alias = rows_.FindAlias(address);
    if (!alias.ok()) return alias.status();
    return alias->has_value();
  }

  // Whose account the source has already.
  absl::StatusOr<std::optional<Account>> Keep(Account account, const ExternalEntry& entry) {
    if (!Holds(entry.addresses, account.address)) {
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

  // nullopt: there is no address that it could have.
  absl::StatusOr<std::optional<Account>> Begin(const ExternalEntry& entry) {
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

  // An alias of the source, unless the address is another's.
  absl::Status Lead(const Address& address, std::vector<Address> targets) {
    absl::StatusOr<std::optional<Alias>> present = rows_.FindAlias(address);
    if (!present.ok()) return present.status();
    const Alias alias{address, std::move(targets), Origin{source_, "", ""}};
    if (!present->has_value()) {
      return Place(address, /*id=*/"", [&](DirectoryWriter& w) { return w.InsertAlias(alias); })
          .status();
    }
    if (!IsTheirs((*present)->origin) || (*present)->targets == alias.targets) {
      return absl::OkStatus();
    }
    return Write([&](DirectoryWriter& w) { return w.UpdateAlias(alias); });
  }

  // Writes what is to have the address, once what the source had there is out of the way; aliases
  // that name the address go on doing so. False: it is another's, and nothing was written. `id`: of
  // whose the new row is, "" for an alias.
  absl::StatusOr<bool> Place(const Address& address, absl::string_view id,
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

  // The account of somebody who has the address no more, disabled under one that nobody has; it
  // comes back with the mailbox when it is found by its id. `named_by`: the aliases that name it.
  absl::StatusOr<Address> SetAside(Account account, std::vector<Alias>* named_by) {
    absl::StatusOr<std::vector<Address>> names =
        rows_.FindAliasesTo(account.address, kMaxAliasesTo);
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

  // An alias of the source goes, and out of the source's groups that name it.
  absl::Status DropAlias(const Address& address) {
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

  absl::Status Write(absl::FunctionRef<absl::Status(DirectoryWriter&)> write) {
    return writer_ == nullptr ? absl::CancelledError("not written") : write(*writer_);
  }

  DirectoryReader& rows_;
  DirectoryWriter* const writer_;
  const std::string& source_;
  const Address& asked_;
  const int32_t mailbox_shards_;
};

}  // namespace

struct Mirror::Learning {
  // Each is asked about once, however groups lead to each other.
  absl::flat_hash_set<Address> asked;
  int depth = 0;
};

struct Mirror::Kept {
  explicit Kept(Source from) : source(std::move(from)), pool(source.threads, kMaxWaiting) {}

  absl::Mutex& LockOf(const Address& address) {
    return locks[absl::Hash<Address>()(address) % kLocks];
  }

  const Source source;
  std::array<absl::Mutex, kLocks> locks;
  process::WorkerPool pool;
};

Mirror::Mirror(Directory& directory, std::vector<Source> sources, Resolver resolver,
               int32_t mailbox_shards, size_t max_members)
    : directory_(directory),
      resolver_(std::move(resolver)),
      mailbox_shards_(mailbox_shards),
      max_members_(max_members) {
  for (Source& source : sources) sources_.push_back(std::make_unique<Kept>(std::move(source)));
}

Mirror::~Mirror() = default;

Mirror::Kept* Mirror::SourceOf(const Address& address) const {
  for (const std::unique_ptr<Kept>& kept : sources_) {
    const std::vector<std::string>& domains = kept->source.domains;
    if (std::find(domains.begin(), domains.end(), address.domain) != domains.end()) {
      return kept.get();
    }
  }
  return nullptr;
}

const std::string& Mirror::NameOf(const Address& address) const {
  return SourceOf(address)->source.directory->name();
}

std::vector<Address> Mirror::Stale(absl::Span<const Address> addresses) const {
  std::vector<Address> stale;
  for (const Address& address : addresses) {
    const Kept* const kept = SourceOf(address);
    if (kept == nullptr) continue;
    for (const Address& form : resolver_.Forms(address)) {
      if (!kept->source.freshness->IsFresh(form)) stale.push_back(form);
    }
  }
  return stale;
}

void Mirror::Refresh(std::vector<Address> addresses, Done done) {
  std::vector<Address> stale = Stale(addresses);
  if (stale.empty()) {
    done(absl::OkStatus());
    return;
  }
  Kept& kept = *SourceOf(stale.front());
  process::RunOn<absl::Status>(
      kept.pool,
      [this, &kept, stale]() -> absl::Status {
        for (const Address& address : stale) {
          if (SourceOf(address) != &kept) continue;
          absl::Status refreshed = RefreshOne(kept, address);
          if (!refreshed.ok()) return refreshed;
        }
        return absl::OkStatus();
      },
      [this, &kept, stale, done = std::move(done)](absl::Status refreshed) mutable {
        std::erase_if(stale, [&](const Address& a) { return SourceOf(a) == &kept; });
        if (!refreshed.ok() || stale.empty()) {
          done(std::move(refreshed));
        } else {
          Refresh(std::move(stale), std::move(done));
        }
      },
      absl::ResourceExhaustedError(
          absl::StrCat("too many questions wait for ", kept.source.directory->name())));
}

void Mirror::LogIn(Address address, std::string password, LoggedIn done) {
  Kept& kept = *SourceOf(address);
  struct Answer {
    absl::StatusOr<ExternalLogin> login;
    std::optional<Account> account;
  };
  auto secret = std::make_shared<std::string>(std::move(password));
  process::RunOn<Answer>(
      kept.pool,
      [this, &kept, address = std::move(address), secret]() -> Answer {
        absl::StatusOr<bool> ours = IsOurs(address);
        if (!ours.ok()) return {ours.status(), std::nullopt};
        if (!*ours) return {ExternalLogin{std::nullopt, false, "no such domain"}, std::nullopt};
        Freshness::Question question(*kept.source.freshness);
        Answer answer{kept.source.directory->LogIn(address, *secret), std::nullopt};
        Wipe(secret.get());
        if (!answer.login.ok()) return answer;
        std::optional<ExternalEntry>& entry = answer.login->entry;
        absl::Status status;
        if (entry.has_value()) {
          entry = AsOwner(kept, address, *std::move(entry));
          if (entry->kind != ExternalEntry::Kind::kPerson) answer.login->right = false;
          Learning learning;
          status = WriteDown(kept, address, *entry, learning, question);
        }
        if (status.ok()) {
          status = directory_.Read([&](DirectoryReader& rows) -> absl::Status {
            // By another of his addresses he is the same person; an alias of ours is nobody.
            absl::StatusOr<std::optional<Account>> account =
                entry.has_value() && entry->kind == ExternalEntry::Kind::kPerson
                    ? rows.FindAccountByOrigin(kept.source.directory->name(), entry->id)
                    : rows.FindAccount(address);
            if (account.ok()) answer.account = *std::move(account);
            return account.status();
          });
        }
        if (!status.ok()) answer.login = status;
        return answer;
      },
      [secret, done = std::move(done)](Answer answer) mutable {
        Wipe(secret.get());
        done(std::move(answer.login), std::move(answer.account));
      },
      Answer{absl::ResourceExhaustedError(
                 absl::StrCat("too many questions wait for ", kept.source.directory->name())),
             std::nullopt});
}

absl::Status Mirror::RefreshOne(Kept& kept, const Address& address) {
  absl::MutexLock lock(&kept.LockOf(address));
  // Another may just have asked.
  if (kept.source.freshness->IsFresh(address)) return absl::OkStatus();
  Learning learning;
  const absl::Status learnt = Learn(kept, address, learning);
  if (!learnt.ok()) LogNoAnswer(kept.source.directory->name(), address, learnt);
  return learnt;
}

absl::StatusOr<bool> Mirror::IsOurs(const Address& address) {
  bool ours = false;
  absl::Status read = directory_.Read([&](DirectoryReader& rows) -> absl::Status {
    absl::StatusOr<std::optional<Domain>> domain = rows.FindDomain(address.domain);
    ours = domain.ok() && domain->has_value();
    return domain.status();
  });
  if (!read.ok()) return read;
  return ours;
}

absl::Status Mirror::Learn(Kept& kept, const Address& address, Learning& learning) {
  learning.asked.insert(address);
  absl::StatusOr<bool> ours = IsOurs(address);
  if (!ours.ok() || !*ours) return ours.status();
  Freshness::Question question(*kept.source.freshness);
  absl::StatusOr<ExternalEntry> entry = kept.source.directory->Find(address);
  if (!entry.ok()) return entry.status();
  return WriteDown(kept, address, AsOwner(kept, address, *std::move(entry)), learning, question);
}

ExternalEntry Mirror::AsOwner(const Kept& kept, const Address& address, ExternalEntry entry) const {
  std::erase_if(entry.addresses, [&](const Address& a) { return SourceOf(a) != &kept; });
  // Servers take many spellings for one ("  alice@..."): an address is whose attributes have it.
  if (entry.kind == ExternalEntry::Kind::kPerson && !Holds(entry.addresses, address)) return {};
  return entry;
}

absl::Status Mirror::WriteDown(Kept& kept, const Address& address, const ExternalEntry& local,
                               Learning& learning, Freshness::Question& question) {
  if (local.kind == ExternalEntry::Kind::kGroup) {
    if (local.members.size() > max_members_) {
      return absl::FailedPreconditionError(absl::StrCat("group ", address.ToString(),
                                                        " has more than ", max_members_,
                                                        " members (max_alias_mailboxes)"));
    }
    if (learning.depth >= kMaxDepth) {
      return absl::FailedPreconditionError(absl::StrCat(
          "groups lead to ", address.ToString(), " through more than ", kMaxDepth, " others"));
    }
    for (const Address& member : local.members) {
      if (SourceOf(member) != &kept || kept.source.freshness->IsFresh(member) ||
          learning.asked.contains(member)) {
        continue;
      }
      ++learning.depth;
      absl::Status learnt = Learn(kept, member, learning);
      --learning.depth;
      // What is wrong with one member is no reason that the others get nothing.
      if (absl::IsFailedPrecondition(learnt)) {
        LogNoAnswer(kept.source.directory->name(), member, learnt);
      } else if (!learnt.ok()) {
        return learnt;
      }
    }
  }
  auto write = [&](DirectoryReader& rows, DirectoryWriter* writer) {
    Writing writing(rows, writer, kept.source.directory->name(), address, mailbox_shards_);
    switch (local.kind) {
      case ExternalEntry::Kind::kPerson:
        return writing.Person(local);
      case ExternalEntry::Kind::kGroup:
        return writing.Group(local.members);
      case ExternalEntry::Kind::kNothing:
        break;
    }
    return writing.Nothing();
  };
  // Seldom is there anything to write, and readers wait for nobody.
  absl::Status status =
      directory_.Read([&](DirectoryReader& rows) { return write(rows, nullptr); });
  if (absl::IsCancelled(status)) {
    status = directory_.Write([&](DirectoryWriter& writer) { return write(writer, &writer); });
  }
  if (!status.ok()) return status;
  // Behind what is ours it is not seen, and would have to be asked for once that goes.
  bool seen = local.kind == ExternalEntry::Kind::kNothing;
  status = directory_.Read([&](DirectoryReader& rows) -> absl::Status {
    absl::StatusOr<std::optional<Account>> account = rows.FindAccount(address);
    if (!account.ok()) return account.status();
    absl::StatusOr<std::optional<Alias>> alias = rows.FindAlias(address);
    if (!alias.ok()) return alias.status();
    const std::string& name = kept.source.directory->name();
    seen = seen || (account->has_value() && (*account)->origin.source == name) ||
           (alias->has_value() && (*alias)->origin.source == name);
    return absl::OkStatus();
  });
  if (status.ok() && seen) question.Answered(address, local.id);
  return status;
}

}  // namespace postern::auth
