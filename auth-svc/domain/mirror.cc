#include "auth-svc/domain/mirror.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <utility>

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
// Groups in groups, as far as they must be known to write a group down.
constexpr int kMaxDepth = 10;

bool Holds(const std::vector<Address>& addresses, const Address& address) {
  return std::find(addresses.begin(), addresses.end(), address) != addresses.end();
}

// Brings the rows of one transaction to what an external directory has. Without a writer: CANCELLED
// when there is anything to write.
class Writing {
 public:
  Writing(DirectoryReader& rows, DirectoryWriter* writer, const std::string& source,
          int32_t mailbox_shards)
      : rows_(rows), writer_(writer), source_(source), mailbox_shards_(mailbox_shards) {}

  absl::Status Nothing(const Address& address) {
    absl::StatusOr<std::optional<Account>> account = rows_.FindAccount(address);
    if (!account.ok()) return account.status();
    if (account->has_value()) {
      if (!IsTheirs((*account)->origin) || !(*account)->enabled) return absl::OkStatus();
      (*account)->enabled = false;
      return Write([&](DirectoryWriter& w) { return w.UpdateAccount(**account); });
    }
    return DropAlias(address);
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
  absl::Status Group(const Address& address, const std::vector<Address>& members) {
    std::vector<Address> targets;
    for (const Address& member : members) {
      if (member == address) continue;
      absl::StatusOr<bool> known = IsKnown(member);
      if (!known.ok()) return known.status();
      if (*known) targets.push_back(member);
    }
    return targets.empty() ? DropAlias(address) : Lead(address, std::move(targets));
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
      std::optional<Address> free;
      for (const Address& address : entry.addresses) {
        absl::StatusOr<bool> can = MakeRoom(address);
        if (!can.ok()) return can.status();
        if (*can) {
          free = address;
          break;
        }
      }
      if (!free.has_value()) {
        return absl::FailedPreconditionError(absl::StrCat(
            "account ", account.address.ToString(), " is now ", entry.addresses.front().ToString(),
            " in ", source_, ", and that address is taken by another"));
      }
      absl::Status moved =
          Write([&](DirectoryWriter& w) { return w.MoveAccount(account.address, *free); });
      if (!moved.ok()) return moved;
      account.address = *std::move(free);
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
      absl::StatusOr<std::optional<Account>> present = rows_.FindAccount(address);
      if (!present.ok()) return present.status();
      Account account = NewAccount(address, mailbox_shards_);
      account.enabled = entry.enabled;
      account.origin = {source_, entry.id, entry.stamp};
      absl::Status written;
      if (present->has_value()) {
        if (!IsTheirs((*present)->origin)) continue;
        // Somebody else had this address there. His mailbox stays where it is, out of reach.
        written = Write([&](DirectoryWriter& w) { return w.UpdateAccount(account); });
      } else {
        absl::StatusOr<bool> can = MakeRoom(address);
        if (!can.ok()) return can.status();
        if (!*can) continue;
        written = Write([&](DirectoryWriter& w) { return w.InsertAccount(account); });
      }
      if (!written.ok()) return written;
      return account;
    }
    return std::nullopt;
  }

  // Whether an account can have the address: of the rows' aliases only the source's goes.
  absl::StatusOr<bool> MakeRoom(const Address& address) {
    absl::StatusOr<std::optional<Account>> account = rows_.FindAccount(address);
    if (!account.ok()) return account.status();
    if (account->has_value()) return false;
    absl::StatusOr<std::optional<Alias>> alias = rows_.FindAlias(address);
    if (!alias.ok()) return alias.status();
    if (!alias->has_value()) return true;
    if (!IsTheirs((*alias)->origin)) return false;
    absl::Status deleted = Write([&](DirectoryWriter& w) { return w.DeleteAlias(address); });
    if (!deleted.ok()) return deleted;
    return true;
  }

  // An alias of the source, unless the address is another's.
  absl::Status Lead(const Address& address, std::vector<Address> targets) {
    absl::StatusOr<std::optional<Account>> account = rows_.FindAccount(address);
    if (!account.ok()) return account.status();
    if (account->has_value()) return absl::OkStatus();
    absl::StatusOr<std::optional<Alias>> present = rows_.FindAlias(address);
    if (!present.ok()) return present.status();
    const Alias alias{address, std::move(targets), Origin{source_, "", ""}};
    if (!present->has_value()) {
      return Write([&](DirectoryWriter& w) { return w.InsertAlias(alias); });
    }
    if (!IsTheirs((*present)->origin) || (*present)->targets == alias.targets) {
      return absl::OkStatus();
    }
    return Write([&](DirectoryWriter& w) { return w.UpdateAlias(alias); });
  }

  absl::Status DropAlias(const Address& address) {
    absl::StatusOr<std::optional<Alias>> alias = rows_.FindAlias(address);
    if (!alias.ok()) return alias.status();
    if (!alias->has_value() || !IsTheirs((*alias)->origin)) return absl::OkStatus();
    absl::Status deleted = Write([&](DirectoryWriter& w) { return w.DeleteAlias(address); });
    if (!absl::IsFailedPrecondition(deleted)) return deleted;
    return absl::FailedPreconditionError(
        absl::StrCat(source_, " has nothing under ", address.ToString(), " any more, but ",
                     deleted.message(), ": change that alias first"));
  }

  absl::Status Write(absl::FunctionRef<absl::Status(DirectoryWriter&)> write) {
    return writer_ == nullptr ? absl::CancelledError("not written") : write(*writer_);
  }

  DirectoryReader& rows_;
  DirectoryWriter* const writer_;
  const std::string& source_;
  const int32_t mailbox_shards_;
};

}  // namespace

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
        const std::optional<ExternalEntry>& entry = answer.login->entry;
        absl::Status status;
        if (entry.has_value()) {
          status = WriteDown(kept, address, *entry, 0);
          if (status.ok()) question.Answered(address, entry->id);
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
  const absl::Status learnt = Learn(kept, address, 0);
  if (!learnt.ok()) {
    telemetry::Log(telemetry::LogLevel::kWarning, "external directory gives no answer",
                   {{"directory", kept.source.directory->name()},
                    {"address", address.ToString()},
                    {"status", learnt.ToString()}});
  }
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

absl::Status Mirror::Learn(Kept& kept, const Address& address, int depth) {
  absl::StatusOr<bool> ours = IsOurs(address);
  if (!ours.ok() || !*ours) return ours.status();
  Freshness::Question question(*kept.source.freshness);
  absl::StatusOr<ExternalEntry> entry = kept.source.directory->Find(address);
  if (!entry.ok()) return entry.status();
  absl::Status written = WriteDown(kept, address, *entry, depth);
  if (written.ok()) question.Answered(address, entry->id);
  return written;
}

absl::Status Mirror::WriteDown(Kept& kept, const Address& address, const ExternalEntry& entry,
                               int depth) {
  ExternalEntry local = entry;
  std::erase_if(local.addresses, [&](const Address& a) { return SourceOf(a) != &kept; });
  if (local.kind == ExternalEntry::Kind::kPerson && !Holds(local.addresses, address)) {
    // Found by a filter that looks at more than the addresses do.
    local.addresses.push_back(address);
  }
  if (local.kind == ExternalEntry::Kind::kGroup) {
    if (local.members.size() > max_members_) {
      return absl::FailedPreconditionError(absl::StrCat("group ", address.ToString(),
                                                        " has more than ", max_members_,
                                                        " members (max_alias_mailboxes)"));
    }
    if (depth >= kMaxDepth) {
      return absl::FailedPreconditionError(absl::StrCat(
          "groups lead to ", address.ToString(), " through more than ", kMaxDepth, " others"));
    }
    for (const Address& member : local.members) {
      if (member == address || SourceOf(member) != &kept ||
          kept.source.freshness->IsFresh(member)) {
        continue;
      }
      absl::Status learnt = Learn(kept, member, depth + 1);
      if (!learnt.ok()) return learnt;
    }
  }
  auto write = [&](DirectoryReader& rows, DirectoryWriter* writer) {
    Writing writing(rows, writer, kept.source.directory->name(), mailbox_shards_);
    switch (local.kind) {
      case ExternalEntry::Kind::kPerson:
        return writing.Person(local);
      case ExternalEntry::Kind::kGroup:
        return writing.Group(address, local.members);
      case ExternalEntry::Kind::kNothing:
        break;
    }
    return writing.Nothing(address);
  };
  // Seldom is there anything to write, and readers wait for nobody.
  absl::Status status =
      directory_.Read([&](DirectoryReader& rows) { return write(rows, nullptr); });
  if (!absl::IsCancelled(status)) return status;
  return directory_.Write([&](DirectoryWriter& writer) { return write(writer, &writer); });
}

}  // namespace postern::auth
