#include "auth-svc/domain/mirror.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "auth-svc/domain/mirror_rows.h"
#include "auth-svc/domain/password.h"
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

void LogNoAnswer(const std::string& directory, const Address& address, const absl::Status& status) {
  telemetry::Log(
      telemetry::LogLevel::kWarning, "external directory gives no answer",
      {{"directory", directory}, {"address", address.ToString()}, {"status", status.ToString()}});
}

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
  if (entry.kind == ExternalEntry::Kind::kPerson && !entry.Has(address)) return {};
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
    MirrorRows mirrored(rows, writer, kept.source.directory->name(), address, mailbox_shards_);
    switch (local.kind) {
      case ExternalEntry::Kind::kPerson:
        return mirrored.Person(local);
      case ExternalEntry::Kind::kGroup:
        return mirrored.Group(local.members);
      case ExternalEntry::Kind::kNothing:
        break;
    }
    return mirrored.Nothing();
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
