#include "relay-svc/sqlite/sqlite_spool.h"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "relay-svc/domain/spool_rules.h"
#include "relay-svc/sqlite/migrations.h"
#include "relay-svc/sqlite/spool_rows.h"
#include "services/crypto/sha256.h"
#include "services/process/worker_pool.h"
#include "services/storage/body/body_store.h"
#include "services/storage/sqlite/group_commit.h"
#include "services/storage/sqlite/reader_pool.h"
#include "services/storage/sqlite/sqlite.h"
#include "services/telemetry/metrics.h"
#include "services/text/utf8.h"

namespace postern::relay {
namespace {

using async::Done;
using async::DoneStatus;
using storage::ReaderPool;
using storage::Sqlite;

// Reads that may wait for a thread.
constexpr size_t kMaxWaitingReads = 20000;

// The number of messages, known without asking the database.
class QueueSize {
 public:
  explicit QueueSize(int64_t messages)
      : messages_(messages),
        gauge_(telemetry::GetGauge("postern_relay_queue_messages", "Messages in the spool.")) {
    gauge_.Set(static_cast<double>(messages));
  }
  void Add(int64_t n) { gauge_.Set(static_cast<double>(messages_.fetch_add(n) + n)); }
  int64_t messages() const { return messages_.load(); }

 private:
  std::atomic<int64_t> messages_;
  telemetry::Gauge& gauge_;
};

// Who works on what, for as long as this process lives. Thread-safe.
class Claims {
 public:
  // nullopt: it is claimed.
  std::optional<std::string> Take(const JobKey& key, absl::Time now, absl::Time until) {
    absl::MutexLock lock(&mutex_);
    auto [found, fresh] = by_key_.try_emplace(key);
    if (!fresh && found->second.until > now) return std::nullopt;
    if (!fresh) keys_.erase(found->second.claim);
    found->second = {absl::StrCat(++last_), until};
    keys_.emplace(found->second.claim, key);
    return found->second.claim;
  }
  void Renew(const std::string& claim, absl::Time until) {
    absl::MutexLock lock(&mutex_);
    if (auto key = keys_.find(claim); key != keys_.end()) by_key_[key->second].until = until;
  }
  bool IsCurrent(const std::string& claim) const {
    absl::MutexLock lock(&mutex_);
    return keys_.contains(claim);
  }
  void End(const std::string& claim) {
    absl::MutexLock lock(&mutex_);
    auto key = keys_.find(claim);
    if (key == keys_.end()) return;
    by_key_.erase(key->second);
    keys_.erase(key);
  }

 private:
  struct Claimed {
    std::string claim;
    absl::Time until;
  };

  mutable absl::Mutex mutex_;
  uint64_t last_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<JobKey, Claimed> by_key_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, JobKey> keys_ ABSL_GUARDED_BY(mutex_);
};

// What a writer and its writes share; outlives the writer while a write is under way.
struct WriterState {
  storage::GroupCommit* commits;
  QueueSize* size;
  const SqliteSpoolOptions* options;

  crypto::Sha256 hash;
  // A body of one piece waits here for Commit, so that it costs one transaction.
  std::optional<storage::CompressedPiece> only_piece;
  // 0: no piece has been written to the database.
  int64_t body_id = 0;
  uint64_t octets = 0;
  bool eight_bit = false;
  // A commit is under way or done: the body is no longer the writer's to drop.
  bool committing = false;
};

class SqliteSpoolWriter : public SpoolWriter {
 public:
  SqliteSpoolWriter(storage::GroupCommit* commits, QueueSize* size,
                    const SqliteSpoolOptions* options)
      : state_(std::make_shared<WriterState>()) {
    state_->commits = commits;
    state_->size = size;
    state_->options = options;
  }
  ~SqliteSpoolWriter() override {
    if (state_->committing || state_->body_id == 0) return;
    // If this write is refused, the next start drops the body (DropUnfinishedBodies).
    state_->commits->Submit([body_id = state_->body_id](
                                Sqlite& database) { return storage::DropBody(database, body_id); },
                            [](absl::Status) {});
  }

  void Write(std::string piece, DoneStatus done) override {
    state_->hash.Update(piece);
    state_->octets += piece.size();
    state_->eight_bit = state_->eight_bit || !text::IsAscii(piece);
    auto compressed = std::make_shared<storage::CompressedPiece>(storage::CompressPiece(piece));
    if (state_->body_id == 0 && !state_->only_piece.has_value()) {
      state_->only_piece = std::move(*compressed);
      done(absl::OkStatus());
      return;
    }
    auto body_id = std::make_shared<int64_t>(0);
    state_->commits->Submit(
        [state = state_, compressed, body_id](Sqlite& database) -> absl::Status {
          *body_id = state->body_id;
          if (*body_id == 0) {
            absl::StatusOr<int64_t> begun = storage::BeginBody(database);
            if (!begun.ok()) return begun.status();
            *body_id = *begun;
            absl::Status first = storage::AppendPiece(database, *body_id, *state->only_piece);
            if (!first.ok()) return first;
          }
          return storage::AppendPiece(database, *body_id, *compressed);
        },
        [state = state_, body_id, done = std::move(done)](absl::Status status) mutable {
          if (status.ok()) {
            state->body_id = *body_id;
            state->only_piece.reset();
          }
          done(std::move(status));
        });
  }

  void Commit(NewMessage message, Done<Committed> done) override {
    state_->committing = true;
    message.message.octets = state_->octets;
    message.message.eight_bit = state_->eight_bit;
    struct Commitment {
      NewMessage message;
      std::string sha256;
      Committed committed;
    };
    auto commitment = std::make_shared<Commitment>();
    commitment->sha256 = state_->hash.Finish();
    commitment->message = std::move(message);
    state_->commits->Submit(
        [state = state_, commitment](Sqlite& database) {
          return Insert(*state, commitment->message, commitment->sha256, &commitment->committed,
                        database);
        },
        [state = state_, commitment, done = std::move(done)](absl::Status status) mutable {
          if (!status.ok()) {
            state->committing = false;
            done(std::move(status));
            return;
          }
          if (!commitment->committed.repeated) state->size->Add(1);
          done(std::move(commitment->committed));
        });
  }

 private:
  static absl::Status Insert(const WriterState& state, const NewMessage& message,
                             const std::string& sha256, Committed* committed, Sqlite& database) {
    if (!message.delivery_id.empty()) {
      absl::StatusOr<std::optional<EarlierDelivery>> earlier =
          FindDelivery(database, message.delivery_id);
      if (!earlier.ok()) return earlier.status();
      if (earlier->has_value()) {
        if ((*earlier)->digest != message.digest) {
          return OtherMessage();
        }
        *committed = Committed{(*earlier)->queue_id, true, {}};
        return state.body_id == 0 ? absl::OkStatus() : storage::DropBody(database, state.body_id);
      }
    }
    *committed = CommittedNow(message);
    // The size as of the last commit: one group may overshoot it.
    if (state.size->messages() >= state.options->max_messages) {
      return QueueIsFull();
    }
    absl::StatusOr<int64_t> body_id =
        state.body_id == 0
            ? storage::AddBody(database, sha256,
                               state.only_piece.value_or(storage::CompressPiece("")), 1)
            : storage::FinishBody(database, state.body_id, sha256, 1);
    if (!body_id.ok()) return body_id.status();
    return InsertMessage(database, message, *body_id, state.options->clock());
  }

  std::shared_ptr<WriterState> state_;
};

class SqliteSpool : public Spool {
 public:
  SqliteSpool(std::unique_ptr<Sqlite> writer, std::unique_ptr<ReaderPool> readers,
              const SqliteSpoolOptions& options, int64_t messages)
      : options_(options),
        size_(messages),
        readers_(std::move(readers)),
        reads_(options.read_threads, kMaxWaitingReads),
        commits_(std::move(writer), {.max_waiting = options.max_waiting_writes, .name = "spool"}) {}

  std::unique_ptr<SpoolWriter> NewMessageWriter() override {
    return std::make_unique<SqliteSpoolWriter>(&commits_, &size_, &options_);
  }

  void FindDue(absl::Time now, DueCursor after, int limit, Done<DuePage> done) override {
    Read([=](Sqlite& database) { return SelectDue(database, now, after, limit); }, std::move(done));
  }

  // The one process that has the file limits what runs by itself.
  void Claim(JobKey key, absl::Time now, absl::Time until, int,
             Done<std::optional<Job>> done) override {
    const std::optional<std::string> claim = claims_.Take(key, now, until);
    if (!claim.has_value()) {
      done(std::nullopt);
      return;
    }
    Read([key = std::move(key), now](Sqlite& database) { return SelectJob(database, key, now); },
         Done<std::optional<Job>>([this, claim = *claim, done = std::move(done)](
                                      absl::StatusOr<std::optional<Job>> job) mutable {
           if (job.ok() && job->has_value()) {
             (*job)->claim = claim;
           } else {
             claims_.End(claim);
           }
           done(std::move(job));
         }));
  }

  void Renew(std::vector<JobClaim> claims, absl::Time until, DoneStatus done) override {
    for (const JobClaim& claim : claims) claims_.Renew(claim.claim, until);
    done(absl::OkStatus());
  }

  void ReadPiece(std::string queue_id, int64_t index, Done<std::string> done) override {
    Read([queue_id = std::move(queue_id),
          index](Sqlite& database) { return ReadBodyPiece(database, queue_id, index); },
         std::move(done));
  }

  void Record(JobOutcome outcome, Done<Committed> done) override {
    if (!claims_.IsCurrent(outcome.claim)) {
      done(ClaimIsStale());
      return;
    }
    struct Recording {
      JobOutcome outcome;
      storage::CompressedPiece notice_body;
      std::string notice_sha256;
      RecordedOutcome recorded;
    };
    auto recording = std::make_shared<Recording>();
    recording->outcome = std::move(outcome);
    if (recording->outcome.notice.has_value()) {
      JobOutcome::Notice& notice = *recording->outcome.notice;
      recording->notice_sha256 = crypto::Sha256Of(notice.body);
      recording->notice_body = storage::CompressPiece(notice.body);
      DescribeBody(&notice);
      notice.body.clear();
    }
    commits_.Submit(
        [this, recording](Sqlite& database) -> absl::Status {
          absl::StatusOr<RecordedOutcome> recorded = RecordOutcome(database, recording->outcome);
          if (!recorded.ok()) return recorded.status();
          recording->recorded = *recorded;
          if (!recorded->found || !recording->outcome.notice.has_value()) return absl::OkStatus();
          absl::StatusOr<int64_t> body_id = storage::AddBody(
              database, recording->notice_sha256, recording->notice_body, /*references=*/1);
          if (!body_id.ok()) return body_id.status();
          return InsertMessage(database, recording->outcome.notice->message, *body_id,
                               options_.clock());
        },
        [this, recording, done = std::move(done)](absl::Status status) mutable {
          if (!status.ok()) {
            done(std::move(status));
            return;
          }
          claims_.End(recording->outcome.claim);
          Committed committed;
          if (recording->recorded.found) {
            committed = CommittedWith(recording->outcome);
            size_.Add(CountSpooled(recording->outcome));
          }
          if (recording->recorded.removed) size_.Add(-1);
          done(std::move(committed));
        });
  }

  void ForgetDeliveryIds(absl::Time before, DoneStatus done) override {
    commits_.Submit([before](Sqlite& database) { return ForgetDeliveries(database, before); },
                    std::move(done));
  }

  void List(int page_size, std::string page_token, Done<QueuePage> done) override {
    Read([page_size, page_token = std::move(page_token)](
             Sqlite& database) { return SelectEntries(database, page_size, page_token); },
         std::move(done));
  }

  void Get(std::string queue_id, Done<QueueEntry> done) override {
    Read([queue_id =
              std::move(queue_id)](Sqlite& database) { return SelectEntry(database, queue_id); },
         std::move(done));
  }

  void SetHeld(std::string queue_id, bool held, DoneStatus done) override {
    commits_.Submit([queue_id = std::move(queue_id),
                     held](Sqlite& database) { return UpdateHeld(database, queue_id, held); },
                    std::move(done));
  }

  void MakeDue(std::string queue_id, absl::Time now, DoneStatus done) override {
    commits_.Submit([queue_id = std::move(queue_id),
                     now](Sqlite& database) { return UpdateDue(database, queue_id, now); },
                    std::move(done));
  }

  void Delete(std::string queue_id, DoneStatus done) override {
    commits_.Submit([queue_id = std::move(queue_id)](
                        Sqlite& database) { return DeleteMessage(database, queue_id); },
                    [this, done = std::move(done)](absl::Status status) mutable {
                      if (status.ok()) size_.Add(-1);
                      done(std::move(status));
                    });
  }

  void Ping(DoneStatus done) override {
    using Answer = std::optional<EarlierDelivery>;
    Read([](Sqlite& database) { return FindDelivery(database, ""); },
         Done<Answer>([done = std::move(done)](absl::StatusOr<Answer> answer) mutable {
           done(answer.status());
         }));
  }

  int64_t messages() const override { return size_.messages(); }

 private:
  template <typename T, typename Query>
  void Read(Query query, Done<T> done) {
    process::RunOn<absl::StatusOr<T>>(
        reads_,
        [this, query = std::move(query)]() mutable -> absl::StatusOr<T> {
          // As many connections as threads: there is one.
          ReaderPool::Lent reader(*readers_);
          return query(*reader);
        },
        std::move(done), absl::ResourceExhaustedError("too many reads of the spool wait"));
  }

  const SqliteSpoolOptions options_;
  QueueSize size_;
  Claims claims_;
  const std::unique_ptr<ReaderPool> readers_;
  // Last, since their threads use what stands above.
  process::WorkerPool reads_;
  storage::GroupCommit commits_;
};

}  // namespace

absl::Span<const storage::Migration> SqliteSpoolMigrations() {
  static const storage::Migration kMigrations[] = {{1, storage::BodySchema()},
                                                   {2, sql::k0002Spool},
                                                   {3, storage::BodyIdsNeverRepeat()},
                                                   {4, sql::k0004Trace},
                                                   {5, sql::k0005DelayTold}};
  return kMigrations;
}

absl::StatusOr<std::unique_ptr<Spool>> OpenSqliteSpool(const std::string& file,
                                                       const SqliteSpoolOptions& options) {
  absl::StatusOr<std::unique_ptr<Sqlite>> writer = Sqlite::Open(file, Sqlite::Mode::kReadWrite);
  if (!writer.ok()) return writer.status();
  if (absl::Status status = storage::Migrate(**writer, SqliteSpoolMigrations()); !status.ok()) {
    return status;
  }
  if (absl::Status status = storage::DropUnfinishedBodies(**writer); !status.ok()) return status;
  absl::StatusOr<int64_t> messages = CountMessages(**writer);
  if (!messages.ok()) return messages.status();
  absl::StatusOr<std::unique_ptr<ReaderPool>> readers =
      ReaderPool::Open(file, options.read_threads);
  if (!readers.ok()) return readers.status();
  return std::make_unique<SqliteSpool>(*std::move(writer), *std::move(readers), options, *messages);
}

}  // namespace postern::relay
