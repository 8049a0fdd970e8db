#include "services/storage/sqlite/group_commit.h"

#include <algorithm>
#include <deque>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/storage/sql/commit_metrics.h"
#include "services/telemetry/log.h"

namespace postern::storage {
namespace {

// The WAL is copied into the database when it has grown by this (16 MiB of 4 KiB pages): seldom
// enough that a page which changes with every commit is copied once for many, and small enough for
// readers to search and for a start after a crash.
constexpr int kCheckpointPages = 4000;

// Copies the WAL into the database on a thread and a connection of its own, so that no commit waits
// for the copy and its fsync. Used by the writer thread alone.
class Checkpointer {
 public:
  explicit Checkpointer(std::unique_ptr<Sqlite> database)
      : database_(std::move(database)), thread_([this] { Run(); }) {}

  ~Checkpointer() {
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
    }
    thread_.join();
  }

  // Called after each commit, between transactions.
  void AfterCommit(Sqlite& writer) {
    if (writer.WalPages() < next_at_) return;
    {
      absl::MutexLock lock(&mutex_);
      if (state_ == State::kIdle) state_ = State::kWanted;
      if (state_ != State::kCopied) return;
      state_ = State::kIdle;
    }
    // What was committed while the bulk was being copied is little; with it the whole WAL is in the
    // database, and the next commit starts again at the WAL's beginning unless a reader still needs
    // the end of it.
    const absl::StatusOr<Sqlite::CheckpointResult> rest = writer.Checkpoint();
    if (!rest.ok()) {
      telemetry::Log(telemetry::LogLevel::kError, "checkpoint failed",
                     {{"status", rest.status().ToString()}});
    }
    const bool whole = rest.ok() && rest->checkpointed_pages == rest->wal_pages;
    next_at_ = whole ? kCheckpointPages : writer.WalPages() + kCheckpointPages / 4;
  }

 private:
  enum class State { kIdle, kWanted, kCopied };

  void Run() {
    for (;;) {
      {
        absl::MutexLock lock(&mutex_);
        mutex_.Await(absl::Condition(
            +[](Checkpointer* self) ABSL_EXCLUSIVE_LOCKS_REQUIRED(self->mutex_) {
              return self->stopping_ || self->state_ == State::kWanted;
            },
            this));
        if (stopping_) return;
      }
      // The writer's own checkpoint reports errors.
      database_->Checkpoint().IgnoreError();
      absl::MutexLock lock(&mutex_);
      state_ = State::kCopied;
    }
  }

  const std::unique_ptr<Sqlite> database_;
  int next_at_ = kCheckpointPages;
  absl::Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_) = State::kIdle;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace

struct GroupCommit::Rep {
  struct Waiting {
    Write write;
    Done done;
    absl::Status status;
  };

  Rep(std::unique_ptr<Sqlite> writer, Options chosen)
      : database(std::move(writer)), options(chosen), metrics(options.name) {
    if (const std::string file = database->file(); !file.empty()) {
      absl::StatusOr<std::unique_ptr<Sqlite>> second = Sqlite::Open(file, Sqlite::Mode::kReadWrite);
      // Without it SQLite's own checkpoints, during commits, do the work.
      if (second.ok()) {
        database->StopAutomaticCheckpoints();
        checkpointer = std::make_unique<Checkpointer>(*std::move(second));
      }
    }
    thread = std::thread([this] { Run(); });
  }

  ~Rep() {
    {
      absl::MutexLock lock(&mutex);
      stopping = true;
    }
    thread.join();
  }

  bool TakeGroup(std::vector<Waiting>* group) {
    absl::MutexLock lock(&mutex);
    mutex.Await(absl::Condition(
        +[](Rep* self) ABSL_EXCLUSIVE_LOCKS_REQUIRED(self->mutex) {
          return self->stopping || !self->waiting.empty();
        },
        this));
    const size_t size = std::min(waiting.size(), options.max_group);
    for (size_t i = 0; i < size; ++i) {
      group->push_back(std::move(waiting.front()));
      waiting.pop_front();
    }
    return size > 0;
  }

  void Run() {
    std::vector<Waiting> group;
    while (TakeGroup(&group)) {
      CommitGroup(group);
      for (Waiting& one : group) std::move(one.done)(std::move(one.status));
      group.clear();
      if (checkpointer != nullptr) checkpointer->AfterCommit(*database);
    }
  }

  absl::Status RunSql(absl::string_view sql) {
    absl::StatusOr<Statement*> statement = database->Prepare(sql);
    return statement.ok() ? (*statement)->Run() : statement.status();
  }

  void RollBack() {
    // An error that makes SQLite roll back by itself leaves nothing to do.
    if (database->InTransaction()) RunSql("ROLLBACK").IgnoreError();
  }

  // Gives every write of the group its status.
  void CommitGroup(std::vector<Waiting>& group) {
    absl::StatusOr<bool> isolated = RunTogether(group);
    absl::Status failed = isolated.status();
    if (isolated.ok() && !*isolated) {
      RollBack();
      failed = RunApart(group);
    }
    if (failed.ok()) {
      const absl::Time start = absl::Now();
      failed = RunSql("COMMIT");
      metrics.commit_seconds.Observe(absl::ToDoubleSeconds(absl::Now() - start));
    }
    if (failed.ok()) {
      metrics.commits.Add();
      metrics.group_size.Observe(static_cast<double>(group.size()));
      return;
    }
    metrics.failures.Add();
    telemetry::Log(telemetry::LogLevel::kError, "commit failed",
                   {{"database", options.name}, {"status", failed.ToString()}});
    RollBack();
    // A refusal too: it may have been for what another write did that is now undone.
    for (Waiting& one : group) one.status = failed;
  }

  // A savepoint for each write costs a tenth of the throughput, and a write that is refused has
  // nearly always changed nothing yet. False: one failed after it had changed something, and the
  // transaction can't be kept. An error is the transaction's end.
  absl::StatusOr<bool> RunTogether(std::vector<Waiting>& group) {
    if (absl::Status status = RunSql("BEGIN IMMEDIATE"); !status.ok()) return status;
    for (Waiting& one : group) {
      const int64_t changes = database->TotalChanges();
      one.status = one.write(*database);
      if (!database->InTransaction()) return RolledBackBySqlite(one.status);
      if (!one.status.ok() && database->TotalChanges() != changes) return false;
    }
    return true;
  }

  absl::Status RunApart(std::vector<Waiting>& group) {
    if (absl::Status status = RunSql("BEGIN IMMEDIATE"); !status.ok()) return status;
    for (Waiting& one : group) {
      if (absl::Status status = RunSql("SAVEPOINT one_write"); !status.ok()) return status;
      one.status = one.write(*database);
      if (!database->InTransaction()) return RolledBackBySqlite(one.status);
      if (!one.status.ok()) {
        if (absl::Status status = RunSql("ROLLBACK TO one_write"); !status.ok()) return status;
      }
      if (absl::Status status = RunSql("RELEASE one_write"); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  static absl::Status RolledBackBySqlite(const absl::Status& write) {
    return write.ok() ? absl::UnavailableError("the transaction was rolled back") : write;
  }

  const std::unique_ptr<Sqlite> database;
  const Options options;
  const CommitMetrics metrics;
  std::unique_ptr<Checkpointer> checkpointer;

  absl::Mutex mutex;
  std::deque<Waiting> waiting ABSL_GUARDED_BY(mutex);
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  std::thread thread;
};

GroupCommit::GroupCommit(std::unique_ptr<Sqlite> database, Options options)
    : rep_(std::make_unique<Rep>(std::move(database), std::move(options))) {}

GroupCommit::~GroupCommit() = default;

void GroupCommit::Submit(Write write, Done done) {
  {
    absl::MutexLock lock(&rep_->mutex);
    if (rep_->waiting.size() < rep_->options.max_waiting) {
      rep_->waiting.push_back({std::move(write), std::move(done), absl::OkStatus()});
      return;
    }
  }
  std::move(done)(absl::UnavailableError("too many writes wait"));
}

}  // namespace postern::storage
