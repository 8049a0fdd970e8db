#include "store-svc/postgresql/postgresql_leases.h"

#include <memory>
#include <utility>

#include "services/storage/postgresql/connection.h"
#include "services/telemetry/log.h"

namespace postern::store {
namespace {

using storage::SqlRows;
using storage::SqlValue;
using storage::postgresql::Connection;
using storage::postgresql::Pool;
using storage::postgresql::Statement;

// A replica can take 2^40 leases, and 2^23 can follow each other.
constexpr int kHolderShift = 40;

// Of a mailbox that had none, and of one that is free or whose grace is over: one of the two takes
// it. Not in one statement: Citus wants what ON CONFLICT compares to be immutable, and now() is
// not.
constexpr char kTakeNew[] =
    "INSERT INTO lease (shard, mailbox_id, fence, hold, credential, holder_id) "
    "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (shard, mailbox_id) DO NOTHING";
constexpr char kTakeFree[] =
    "UPDATE lease SET fence = $3, hold = $4, credential = $5, holder_id = $6, free_after = NULL "
    "WHERE shard = $1 AND mailbox_id = $2 AND free_after <= now()";
constexpr char kHeld[] =
    "SELECT fence, hold, holder_id FROM lease WHERE shard = $1 AND mailbox_id = $2 "
    "AND free_after IS NULL";
constexpr char kAlive[] = "SELECT holder_id FROM holder WHERE alive_until > now()";
// What a dead replica holds. Not in one statement with the question whether it is: Citus takes no
// other table into it.
constexpr char kTakeOver[] =
    "UPDATE lease SET fence = $3, hold = $4, credential = $5, holder_id = $6 WHERE shard = $1 "
    "AND mailbox_id = $2 AND fence = $7 AND hold = $8 AND free_after IS NULL";
constexpr char kResume[] =
    "UPDATE lease SET hold = $4, holder_id = $6, free_after = NULL WHERE shard = $1 "
    "AND mailbox_id = $2 AND fence = $3 AND credential = $5 "
    "AND (free_after IS NULL OR free_after > now())";
constexpr char kFind[] =
    "SELECT credential = $4 FROM lease WHERE shard = $1 AND mailbox_id = $2 AND fence = $3 "
    "AND (free_after IS NULL OR free_after > now())";
constexpr char kEnd[] =
    "UPDATE lease SET free_after = '-infinity' WHERE shard = $1 AND mailbox_id = $2 "
    "AND fence = $3 AND hold = $4 AND free_after IS NULL";
// Of one that ended as well: see PutBackBroken.
constexpr char kBreak[] =
    "UPDATE lease SET free_after = now() + $5 * interval '1 millisecond' WHERE shard = $1 "
    "AND mailbox_id = $2 AND fence = $3 AND hold = $4";
constexpr char kEnter[] =
    "INSERT INTO holder (alive_until) VALUES (now() + $1 * interval '1 millisecond') "
    "RETURNING holder_id";
constexpr char kBeat[] =
    "UPDATE holder SET alive_until = now() + $1 * interval '1 millisecond' WHERE holder_id = $2";
constexpr char kLeave[] = "DELETE FROM holder WHERE holder_id = $1";
constexpr char kBury[] = "DELETE FROM holder WHERE alive_until < now() - interval '1 day'";

SqlValue Number(uint64_t number) { return SqlValue::Int(static_cast<int64_t>(number)); }
SqlValue Milliseconds(absl::Duration duration) {
  return SqlValue::Int(absl::ToInt64Milliseconds(duration));
}

absl::Status InUse() { return absl::AbortedError("another session has the maildrop"); }

// A lease that is lost with its server's crash only fails its session's deletions; what ends one is
// kept, or nobody could take the maildrop for as long as this replica lives.
// Gives how many rows they changed.
absl::StatusOr<int64_t> RunWithoutSync(Connection& connection, std::vector<Statement> changes) {
  std::vector<Statement> statements = {{"BEGIN", {}}, {"SET LOCAL synchronous_commit = off", {}}};
  for (Statement& change : changes) statements.push_back(std::move(change));
  statements.push_back({"COMMIT", {}});
  absl::StatusOr<std::vector<std::unique_ptr<SqlRows>>> answers = connection.RunAll(statements);
  if (!answers.ok()) return answers.status();
  int64_t changed = 0;
  for (const auto& answer : *answers) changed += answer->changes();
  return changed;
}

// `values` as kTakeNew's; whether it was taken.
absl::StatusOr<bool> TakeOn(Connection& connection, std::vector<SqlValue> values) {
  absl::StatusOr<int64_t> taken =
      RunWithoutSync(connection, {{kTakeNew, values}, {kTakeFree, values}});
  if (!taken.ok()) return taken.status();
  if (*taken == 1) return true;
  absl::StatusOr<std::vector<std::unique_ptr<SqlRows>>> found =
      connection.RunAll({{kHeld, {values[0], values[1]}}, {kAlive, {}}});
  if (!found.ok()) return found.status();
  const SqlRows& held = *(*found)[0];
  const SqlRows& alive = *(*found)[1];
  if (held.size() == 0) return false;
  for (size_t row = 0; row < alive.size(); ++row) {
    if (alive.Int(row, 0) == held.Int(0, 2)) return false;
  }
  values.push_back(SqlValue::Int(held.Int(0, 0)));
  values.push_back(SqlValue::Int(held.Int(0, 1)));
  taken = RunWithoutSync(connection, {{kTakeOver, std::move(values)}});
  if (!taken.ok()) return taken.status();
  return *taken == 1;
}

}  // namespace

PostgresqlLeases::PostgresqlLeases(Pool* pool, const Options& options)
    : pool_(*pool),
      options_(options),
      workers_(kThreads, options.max_waiting),
      heart_([this, first = Beat()] { Live(first); }) {}

PostgresqlLeases::~PostgresqlLeases() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  heart_.join();
}

template <typename Answer>
void PostgresqlLeases::Run(absl::AnyInvocable<Answer()> job,
                           absl::AnyInvocable<void(Answer)> done) {
  process::RunOn<Answer>(workers_, std::move(job), std::move(done),
                         absl::UnavailableError("too many leases are asked for"));
}

void PostgresqlLeases::Take(const MailboxId& mailbox, absl::string_view credential, HoldDone done) {
  Run<absl::StatusOr<Hold>>(
      [this, mailbox, credential = std::string(credential)] {
        return TakeNow(mailbox, credential);
      },
      std::move(done));
}

absl::StatusOr<Leases::Hold> PostgresqlLeases::TakeNow(const MailboxId& mailbox,
                                                       const std::string& credential) {
  Hold hold{mailbox};
  int64_t holder = 0;
  {
    absl::MutexLock lock(&mutex_);
    holder = holder_;
    hold.fence = static_cast<uint64_t>(holder_) << kHolderShift | ++last_;
    hold.holder = hold.fence;
  }
  if (holder == 0) return absl::UnavailableError("the database was not reached yet");
  bool taken = false;
  // Not repeated after a break: the first try may have taken it, and be in the way of the second.
  const absl::Status status = pool_.Lend(Pool::OnBreak::kFail, [&](Connection& connection) {
    const absl::StatusOr<bool> answer =
        TakeOn(connection, {SqlValue::Int(mailbox.shard()), SqlValue::Blob(mailbox.octets()),
                            Number(hold.fence), Number(hold.holder), SqlValue::Blob(credential),
                            SqlValue::Int(holder)});
    taken = answer.ok() && *answer;
    return answer.status();
  });
  // Whether it took it is not known: nobody is to wait for it until this replica ends.
  if (absl::IsUnavailable(status)) ReleaseLater({hold});
  if (!status.ok()) return status;
  if (!taken) return InUse();
  Note(hold);
  return hold;
}

void PostgresqlLeases::Resume(uint64_t fence, absl::string_view credential, TokenMailbox claimed,
                              HoldDone done) {
  absl::StatusOr<MailboxId> mailbox = claimed();
  if (!mailbox.ok()) {
    std::move(done)(mailbox.status());
    return;
  }
  Run<absl::StatusOr<Hold>>(
      [this, mailbox = *std::move(mailbox), fence, credential = std::string(credential)] {
        return ResumeNow(mailbox, fence, credential);
      },
      std::move(done));
}

absl::StatusOr<Leases::Hold> PostgresqlLeases::ResumeNow(const MailboxId& mailbox, uint64_t fence,
                                                         const std::string& credential) {
  Hold hold{mailbox, fence};
  int64_t holder = 0;
  {
    absl::MutexLock lock(&mutex_);
    holder = holder_;
    hold.holder = static_cast<uint64_t>(holder_) << kHolderShift | ++last_;
  }
  if (holder == 0) return absl::UnavailableError("the database was not reached yet");
  bool taken = false;
  const absl::Status status = pool_.Lend(Pool::OnBreak::kRepeat, [&](Connection& connection) {
    const absl::StatusOr<int64_t> changed = RunWithoutSync(
        connection,
        {{kResume,
          {SqlValue::Int(mailbox.shard()), SqlValue::Blob(mailbox.octets()), Number(fence),
           Number(hold.holder), SqlValue::Blob(credential), SqlValue::Int(holder)}}});
    taken = changed.ok() && *changed == 1;
    return changed.status();
  });
  if (absl::IsUnavailable(status)) ReleaseLater({hold, /*broken=*/true});
  if (!status.ok()) return status;
  if (taken) {
    Note(hold);
    return hold;
  }
  // Why not.
  const absl::Status found = FindNow(mailbox, fence, credential).status();
  return absl::IsFailedPrecondition(found) ? absl::NotFoundError(found.message()) : found;
}

void PostgresqlLeases::ResumeFormer(const MailboxId&, uint64_t, absl::string_view, HoldDone done) {
  std::move(done)(InUse());
}

void PostgresqlLeases::Find(uint64_t fence, absl::string_view credential, TokenMailbox claimed,
                            MailboxDone done) {
  absl::StatusOr<MailboxId> mailbox = claimed();
  if (!mailbox.ok()) {
    std::move(done)(mailbox.status());
    return;
  }
  Run<absl::StatusOr<MailboxId>>(
      [this, mailbox = *std::move(mailbox), fence, credential = std::string(credential)] {
        return FindNow(mailbox, fence, credential);
      },
      std::move(done));
}

absl::StatusOr<MailboxId> PostgresqlLeases::FindNow(const MailboxId& mailbox, uint64_t fence,
                                                    const std::string& credential) {
  absl::StatusOr<std::unique_ptr<SqlRows>> rows =
      pool_.Query(kFind, {SqlValue::Int(mailbox.shard()), SqlValue::Blob(mailbox.octets()),
                          Number(fence), SqlValue::Blob(credential)});
  if (!rows.ok()) return rows.status();
  if ((*rows)->size() == 0) return absl::FailedPreconditionError("the lease's fence is stale");
  if ((*rows)->Int(0, 0) == 0) {
    return absl::UnauthenticatedError("the lease was taken with another credential");
  }
  return mailbox;
}

void PostgresqlLeases::Pin(uint64_t fence, absl::string_view credential, TokenMailbox claimed,
                           MailboxDone done) {
  Find(fence, credential, claimed, std::move(done));
}

void PostgresqlLeases::EndSession(const Hold& hold,
                                  absl::AnyInvocable<void(std::optional<Ended>)> done) {
  Forget(hold);
  Run<absl::StatusOr<bool>>(
      [this, hold] { return ReleaseNow({hold}); },
      [this, hold, done = std::move(done)](absl::StatusOr<bool> ended) mutable {
        if (!ended.ok()) ReleaseLater({hold});
        std::move(done)(ended.ok() && *ended ? std::optional<Ended>({hold, std::string()})
                                             : std::nullopt);
      });
}

void PostgresqlLeases::BreakStream(const Hold& hold, Done done) {
  Forget(hold);
  const Release release{hold, /*broken=*/true};
  Run<absl::StatusOr<bool>>(
      [this, release] { return ReleaseNow(release); },
      [this, release, done = std::move(done)](absl::StatusOr<bool> broken) mutable {
        if (!broken.ok()) ReleaseLater(release);
        std::move(done)();
      });
}

void PostgresqlLeases::PutBackBroken(Ended ended, Done done) {
  BreakStream(ended.hold, std::move(done));
}

absl::StatusOr<bool> PostgresqlLeases::ReleaseNow(const Release& release) {
  const Hold& hold = release.hold;
  std::vector<SqlValue> values = {SqlValue::Int(hold.mailbox.shard()),
                                  SqlValue::Blob(hold.mailbox.octets()), Number(hold.fence),
                                  Number(hold.holder)};
  if (release.broken) values.push_back(Milliseconds(options_.grace));
  absl::StatusOr<int64_t> changed =
      pool_.Change(Pool::OnBreak::kRepeat, release.broken ? kBreak : kEnd, values);
  if (!changed.ok()) return changed.status();
  return *changed == 1;
}

void PostgresqlLeases::ReleaseLater(Release release) {
  absl::MutexLock lock(&mutex_);
  left_over_.push_back(std::move(release));
}

void PostgresqlLeases::ReleaseLeftOvers() {
  std::vector<Release> left;
  {
    absl::MutexLock lock(&mutex_);
    left.swap(left_over_);
  }
  for (Release& release : left) {
    if (!ReleaseNow(release).ok()) ReleaseLater(std::move(release));
  }
}

void PostgresqlLeases::Live(absl::Status last) {
  for (;;) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_),
                                  last.ok() ? options_.heartbeat : options_.heartbeat / 10)) {
        break;
      }
    }
    const absl::Status status = Beat();
    if (status.ok()) ReleaseLeftOvers();
    if (status.ok() != last.ok()) {
      telemetry::Log(
          status.ok() ? telemetry::LogLevel::kInfo : telemetry::LogLevel::kWarning,
          status.ok() ? "this replica's leases are kept again" : "this replica's leases run out",
          {{"status", status.ToString()}});
    }
    last = status;
  }
  // What its streams hold is nobody's now: their sessions are over, or resume by their fences.
  pool_.Change(Pool::OnBreak::kRepeat, kLeave, {SqlValue::Int(holder())}).status().IgnoreError();
}

absl::Status PostgresqlLeases::Beat() {
  return pool_.Lend(Pool::OnBreak::kRepeat, [this](Connection& connection) {
    const SqlValue life = Milliseconds(options_.life);
    const int64_t known = holder();
    if (known != 0) {
      const absl::StatusOr<int64_t> beat =
          RunWithoutSync(connection, {{kBeat, {life, SqlValue::Int(known)}}});
      if (!beat.ok()) return beat.status();
      if (*beat == 1) return absl::OkStatus();
    }
    // The first time, or buried.
    absl::StatusOr<std::vector<std::unique_ptr<SqlRows>>> entered =
        connection.RunAll({{kBury, {}}, {kEnter, {life}}});
    if (!entered.ok()) return entered.status();
    absl::MutexLock lock(&mutex_);
    holder_ = (*entered)[1]->Int(0, 0);
    return absl::OkStatus();
  });
}

int64_t PostgresqlLeases::holder() const {
  absl::MutexLock lock(&mutex_);
  return holder_;
}

void PostgresqlLeases::Note(const Hold& hold) {
  absl::MutexLock lock(&mutex_);
  holds_[hold.fence] = hold.holder;
}

void PostgresqlLeases::Forget(const Hold& hold) {
  absl::MutexLock lock(&mutex_);
  auto found = holds_.find(hold.fence);
  if (found != holds_.end() && found->second == hold.holder) holds_.erase(found);
}

size_t PostgresqlLeases::size() const {
  absl::MutexLock lock(&mutex_);
  return holds_.size();
}

}  // namespace postern::store
