#include "relay-svc/postgresql/postgresql_spool.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/random/random.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "relay-svc/domain/spool_rules.h"
#include "relay-svc/postgresql/schema.h"
#include "services/crypto/random_id.h"
#include "services/crypto/sha256.h"
#include "services/process/worker_pool.h"
#include "services/storage/body/postgresql_bodies.h"
#include "services/storage/postgresql/array.h"
#include "services/storage/postgresql/connection.h"
#include "services/storage/sql/commit_metrics.h"
#include "services/telemetry/metrics.h"
#include "services/text/utf8.h"

namespace postern::relay {
namespace {

using async::Done;
using async::DoneStatus;
using storage::SqlRows;
using storage::SqlValue;
using storage::StagedKey;
using storage::postgresql::Array;
using storage::postgresql::Connection;
using storage::postgresql::Pool;
using storage::postgresql::Statement;

constexpr int32_t kShard = 0;
constexpr int kSizeSlots = 16;
constexpr size_t kWriters = 4;
static_assert(kSpoolThreads > kWriters);
constexpr size_t kMaxWaitingReads = 20000;
// Pieces that one look drops.
constexpr int64_t kLeftOvers = 100;

constexpr int64_t kStateWaiting = 0;
constexpr int64_t kStateDelivered = 1;
constexpr int64_t kStateFailed = 2;

// Locks are taken in this order: delivery id, message, recipients, body, size.

constexpr char kClaimId[] =
    "INSERT INTO delivery (shard, delivery_id, digest, queue_id, committed_at) "
    "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (shard, delivery_id) DO NOTHING";
constexpr char kReadId[] =
    "SELECT digest, queue_id FROM delivery WHERE shard = $1 AND delivery_id = $2";
constexpr char kReadSize[] = "SELECT sum(messages)::bigint FROM queue_size WHERE shard = $1";
constexpr char kChangeSize[] =
    "UPDATE queue_size SET messages = messages + $3 WHERE shard = $1 AND slot = $2";
constexpr char kAddMessage[] =
    "INSERT INTO message (shard, queue_id, sender, octets, enqueued_at, smtputf8, eight_bit, "
    "trace_id, sha256) VALUES ($1, $2, $3, $4, $5, $6 <> 0, $7 <> 0, $8, $9)";
constexpr char kAddRecipients[] =
    "INSERT INTO recipient (shard, queue_id, position, address, destination, next_attempt_at) "
    "SELECT $1, $2, r.position, r.address, r.destination, $5 "
    "FROM unnest($3::bytea[], $4::bytea[]) WITH ORDINALITY AS r (address, destination, position)";

constexpr char kDue[] =
    "SELECT next_attempt_at, queue_id, position, destination FROM recipient WHERE state = 0 "
    "AND NOT held AND next_attempt_at <= $1 AND (next_attempt_at, queue_id, position) > ($2, $3, "
    "$4) ORDER BY next_attempt_at, queue_id, position LIMIT $5";
constexpr char kNextDue[] =
    "SELECT next_attempt_at FROM recipient WHERE state = 0 AND NOT held AND next_attempt_at > $1 "
    "ORDER BY next_attempt_at LIMIT 1";

constexpr char kCountClaimed[] =
    "SELECT count(DISTINCT queue_id) FROM recipient WHERE destination = $1 AND claim IS NOT NULL "
    "AND next_attempt_at > $2";
constexpr char kClaimJob[] =
    "UPDATE recipient SET claim = $6, next_attempt_at = $5 WHERE shard = $1 AND queue_id = $2 "
    "AND destination = $3 AND state = 0 AND NOT held AND next_attempt_at <= $4 "
    "RETURNING position, address, attempts, delay_told";
constexpr char kReadMessage[] =
    "SELECT queue_id, sender, octets, enqueued_at, smtputf8, eight_bit, trace_id, held, sha256 "
    "FROM message WHERE shard = $1 AND queue_id = $2";
constexpr char kRenew[] =
    "UPDATE recipient r SET next_attempt_at = $4 "
    "FROM unnest($2::text[], $3::bytea[]) AS c (queue_id, claim) "
    "WHERE r.shard = $1 AND r.queue_id = c.queue_id AND r.claim = c.claim";
constexpr char kPiece[] =
    "SELECT b.original_octets, b.octets, b.piece_key FROM message m "
    "JOIN body b ON b.shard = $1 AND b.sha256 = m.sha256 WHERE m.shard = $1 AND m.queue_id = $2";

constexpr char kLockMessage[] =
    "SELECT sha256 FROM message WHERE shard = $1 AND queue_id = $2 FOR UPDATE";
constexpr char kSetOutcomes[] =
    "UPDATE recipient r SET state = o.state, attempts = o.attempts, claim = NULL, "
    "next_attempt_at = o.next_attempt_at, last_result = o.last_result, "
    "delay_told = o.delay_told <> 0 FROM unnest($4::bigint[], $5::bigint[], $6::bigint[], "
    "$7::bigint[], $8::bytea[], $9::bigint[]) "
    "AS o (position, state, attempts, next_attempt_at, last_result, delay_told) "
    "WHERE r.shard = $1 AND r.queue_id = $2 AND r.claim = $3 AND r.position = o.position";
constexpr char kIsWaiting[] =
    "SELECT 1 FROM recipient WHERE shard = $1 AND queue_id = $2 AND state = 0 LIMIT 1";
constexpr char kAddMembers[] =
    "INSERT INTO recipient (shard, queue_id, position, address, destination, held, attempts, "
    "next_attempt_at, last_result, delay_told) "
    "SELECT $1, $2, (SELECT max(position) FROM recipient WHERE shard = $1 AND queue_id = $2) "
    "+ a.place, a.address, '', m.held, a.attempts, a.next_attempt_at, a.last_result, "
    "a.delay_told <> 0 FROM message m, "
    "unnest($3::bytea[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bigint[]) "
    "WITH ORDINALITY AS a (address, attempts, next_attempt_at, last_result, delay_told, place) "
    "WHERE m.shard = $1 AND m.queue_id = $2";
constexpr char kRemoveRecipients[] = "DELETE FROM recipient WHERE shard = $1 AND queue_id = $2";
constexpr char kRemoveMessage[] = "DELETE FROM message WHERE shard = $1 AND queue_id = $2";

constexpr char kForget[] = "DELETE FROM delivery WHERE committed_at < $1";

constexpr char kList[] =
    "SELECT queue_id, sender, octets, enqueued_at, smtputf8, eight_bit, trace_id, held, sha256 "
    "FROM message WHERE (enqueued_at, queue_id) > ($1, $2) ORDER BY enqueued_at, queue_id LIMIT $3";
constexpr char kRecipients[] =
    "SELECT address, state, attempts, next_attempt_at, last_result FROM recipient "
    "WHERE shard = $1 AND queue_id = $2 ORDER BY position";
constexpr char kHoldMessage[] =
    "UPDATE message SET held = $3 <> 0 WHERE shard = $1 AND queue_id = $2";
constexpr char kHoldRecipients[] =
    "UPDATE recipient SET held = $3 <> 0 WHERE shard = $1 AND queue_id = $2";
// What is claimed is at work; a claim that ran out is due anyhow.
constexpr char kMakeAllDue[] =
    "UPDATE recipient SET next_attempt_at = $1 WHERE state = 0 AND NOT held "
    "AND next_attempt_at > $1 AND claim IS NULL";
constexpr char kMakeDue[] =
    "UPDATE recipient SET next_attempt_at = $3 WHERE shard = $1 AND queue_id = $2 AND state = 0 "
    "AND next_attempt_at > $3 AND claim IS NULL";

SqlValue Shard() { return SqlValue::Int(kShard); }

SqlValue Time(absl::Time time) { return SqlValue::Int(absl::ToUnixMicros(time)); }

std::string Copy(const SqlRows& rows, size_t row, int column) {
  const absl::string_view octets = rows.Octets(row, column);
  return std::string(octets.data(), octets.size());
}

// Of a row of kReadMessage or kList.
SpooledMessage MessageOf(const SqlRows& rows, size_t row) {
  SpooledMessage message;
  message.queue_id = Copy(rows, row, 0);
  message.sender = Copy(rows, row, 1);
  message.octets = static_cast<uint64_t>(rows.Int(row, 2));
  message.enqueued_at = absl::FromUnixMicros(rows.Int(row, 3));
  message.smtputf8 = rows.Int(row, 4) != 0;
  message.eight_bit = rows.Int(row, 5) != 0;
  message.trace_id = Copy(rows, row, 6);
  return message;
}

std::vector<QueueEntry::Recipient> RecipientsOf(const SqlRows& rows) {
  std::vector<QueueEntry::Recipient> recipients;
  for (size_t row = 0; row < rows.size(); ++row) {
    QueueEntry::Recipient& recipient = recipients.emplace_back();
    recipient.address = Copy(rows, row, 0);
    recipient.state = rows.Int(row, 1) == kStateDelivered ? QueueEntry::State::kDelivered
                      : rows.Int(row, 1) == kStateFailed  ? QueueEntry::State::kFailed
                                                          : QueueEntry::State::kWaiting;
    recipient.attempts = static_cast<int>(rows.Int(row, 2));
    recipient.next_attempt_at = absl::FromUnixMicros(rows.Int(row, 3));
    recipient.last_result = Copy(rows, row, 4);
  }
  return recipients;
}

// The statements that add a message. Keeps what their views show.
class MessageInsertion {
 public:
  MessageInsertion(const NewMessage& message, std::string sha256)
      : message_(message), sha256_(std::move(sha256)) {
    for (const NewMessage::Recipient& recipient : message_.recipients) {
      addresses_.Add(recipient.address);
      destinations_.Add(recipient.destination);
    }
  }

  const std::string& sha256() const { return sha256_; }

  void AppendTo(std::vector<Statement>* statements) const {
    const SpooledMessage& fields = message_.message;
    const SqlValue queue_id = SqlValue::Text(fields.queue_id);
    statements->push_back(
        {kAddMessage,
         {Shard(), queue_id, SqlValue::Blob(fields.sender),
          SqlValue::Int(static_cast<int64_t>(fields.octets)), Time(fields.enqueued_at),
          SqlValue::Int(fields.smtputf8), SqlValue::Int(fields.eight_bit),
          SqlValue::Text(fields.trace_id), SqlValue::Blob(sha256_)}});
    statements->push_back(
        {kAddRecipients,
         {Shard(), queue_id, addresses_.value(), destinations_.value(), Time(fields.enqueued_at)}});
  }

 private:
  const NewMessage& message_;
  const std::string sha256_;
  Array addresses_ = Array::Bytea();
  Array destinations_ = Array::Bytea();
};

Statement SizeChange(int64_t messages) {
  thread_local absl::InsecureBitGen random;
  return {kChangeSize,
          {Shard(), SqlValue::Int(absl::Uniform(random, 0, kSizeSlots)), SqlValue::Int(messages)}};
}

// What a writer and its writes share; outlives the writer while a write is under way.
struct WriterState {
  crypto::Sha256 hash;
  // A body of one piece waits here for Commit, so that it costs one transaction.
  std::optional<storage::CompressedPiece> only_piece;
  // Of a body with more.
  std::optional<StagedKey> staged;
  int64_t pieces = 0;
  uint64_t octets = 0;
  bool eight_bit = false;
  // A commit is under way or done: the pieces are no longer the writer's to drop.
  bool committing = false;
};

class PostgresqlSpool final : public Spool {
 public:
  PostgresqlSpool(Pool* pool, const PostgresqlSpoolOptions& options)
      : pool_(*pool),
        options_(options),
        gauge_(telemetry::GetGauge("postern_relay_queue_messages", "Messages in the spool.")),
        reads_(kSpoolThreads - kWriters, kMaxWaitingReads),
        writes_(kWriters, options.max_waiting_writes) {
    RefreshSize().IgnoreError();
  }

  std::unique_ptr<SpoolWriter> NewMessageWriter() override;

  void FindDue(absl::Time now, DueCursor after, int limit, Done<DuePage> done) override {
    Run<DuePage>(
        reads_, [=, this] { return SelectDue(now, after, limit); }, std::move(done));
  }

  void Claim(JobKey key, absl::Time now, absl::Time until, int max_running,
             Done<std::optional<Job>> done) override {
    Run<std::optional<Job>>(
        writes_, [=, this, key = std::move(key)] { return ClaimJob(key, now, until, max_running); },
        std::move(done));
  }

  void Renew(std::vector<JobClaim> claims, absl::Time until, DoneStatus done) override {
    RunStatus(
        writes_,
        [this, claims = std::move(claims), until] {
          Array ids = Array::Text();
          Array tokens = Array::Bytea();
          for (const JobClaim& claim : claims) {
            ids.Add(claim.queue_id);
            tokens.Add(claim.claim);
          }
          return pool_
              .Change(Pool::OnBreak::kRepeat, kRenew,
                      {Shard(), ids.value(), tokens.value(), Time(until)})
              .status();
        },
        std::move(done));
  }

  void ReadPiece(std::string queue_id, int64_t index, Done<std::string> done) override {
    Run<std::string>(
        reads_, [this, queue_id = std::move(queue_id), index] { return Piece(queue_id, index); },
        std::move(done));
  }

  void Record(JobOutcome outcome, Done<Committed> done) override {
    Run<Committed>(
        writes_, [this, outcome = std::move(outcome)]() mutable { return WriteOutcome(outcome); },
        std::move(done));
  }

  void ForgetDeliveryIds(absl::Time before, DoneStatus done) override {
    RunStatus(
        writes_,
        [this, before] {
          absl::StatusOr<std::vector<StagedKey>> expired = storage::FindExpired(pool_, kLeftOvers);
          if (!expired.ok()) return expired.status();
          for (const StagedKey& key : *expired) storage::DropStaged(pool_, key).IgnoreError();
          return pool_.Change(Pool::OnBreak::kRepeat, kForget, {Time(before)}).status();
        },
        std::move(done));
  }

  void List(int page_size, std::string page_token, Done<QueuePage> done) override {
    Run<QueuePage>(
        reads_,
        [this, page_size, page_token = std::move(page_token)] {
          return SelectPage(page_size, page_token);
        },
        std::move(done));
  }

  void Get(std::string queue_id, Done<QueueEntry> done) override {
    Run<QueueEntry>(
        reads_, [this, queue_id = std::move(queue_id)] { return SelectEntry(queue_id); },
        std::move(done));
  }

  void SetHeld(std::string queue_id, bool held, DoneStatus done) override {
    RunStatus(
        writes_,
        [this, queue_id = std::move(queue_id), held] {
          return WithMessage(queue_id, [&](const SqlRows&, std::vector<Statement>* statements) {
            for (const char* sql : {kHoldMessage, kHoldRecipients}) {
              statements->push_back(
                  {sql, {Shard(), SqlValue::Text(queue_id), SqlValue::Int(held)}});
            }
          });
        },
        std::move(done));
  }

  void MakeDue(std::string queue_id, absl::Time now, DoneStatus done) override {
    RunStatus(
        writes_,
        [this, queue_id = std::move(queue_id), now] {
          if (queue_id.empty())
            return pool_.Change(Pool::OnBreak::kRepeat, kMakeAllDue, {Time(now)}).status();
          return WithMessage(queue_id, [&](const SqlRows&, std::vector<Statement>* statements) {
            statements->push_back({kMakeDue, {Shard(), SqlValue::Text(queue_id), Time(now)}});
          });
        },
        std::move(done));
  }

  void Delete(std::string queue_id, DoneStatus done) override {
    RunStatus(
        writes_,
        [this, queue_id = std::move(queue_id)] {
          storage::BodyChanges bodies(kShard);
          return WithMessage(queue_id, [&](const SqlRows& row, std::vector<Statement>* statements) {
            AppendRemoval(queue_id, row.Octets(0, 0), &bodies, statements);
            bodies.AppendTo(statements);
            statements->push_back(SizeChange(-1));
          });
        },
        std::move(done));
  }

  void Ping(DoneStatus done) override {
    RunStatus(
        reads_, [this] { return RefreshSize(); }, std::move(done));
  }

  // As of this process's last question.
  int64_t messages() const override { return messages_.load(); }

  // For the writer.
  absl::Status AddPiece(const StagedKey& key, int64_t position,
                        const storage::CompressedPiece& piece) {
    return storage::StagePiece(pool_, key, position, piece);
  }
  absl::StatusOr<Committed> CommitMessage(const WriterState& writer, const NewMessage& message,
                                          const std::string& sha256);
  template <typename T>
  void RunWrite(absl::AnyInvocable<absl::StatusOr<T>()> job, Done<T> done) {
    Run<T>(writes_, std::move(job), std::move(done));
  }
  void RunWriteStatus(absl::AnyInvocable<absl::Status()> job, DoneStatus done) {
    RunStatus(writes_, std::move(job), std::move(done));
  }
  void DropStaged(const StagedKey& key) {
    // What is not dropped expires.
    RunStatus(
        writes_, [this, key] { return storage::DropStaged(pool_, key); },
        [](const absl::Status&) {});
  }

 private:
  template <typename T>
  void Run(process::WorkerPool& workers, absl::AnyInvocable<absl::StatusOr<T>()> job,
           Done<T> done) {
    process::RunOn<absl::StatusOr<T>>(workers, std::move(job), std::move(done), TooMuchWaits());
  }
  void RunStatus(process::WorkerPool& workers, absl::AnyInvocable<absl::Status()> job,
                 DoneStatus done) {
    process::RunOn<absl::Status>(workers, std::move(job), std::move(done), TooMuchWaits());
  }
  static absl::Status TooMuchWaits() {
    return absl::UnavailableError("too much of the spool's work waits");
  }

  // Runs what `change` appends, with the message locked. NOT_FOUND: there is none.
  absl::Status WithMessage(
      const std::string& queue_id,
      absl::FunctionRef<void(const SqlRows&, std::vector<Statement>*)> change) {
    return pool_.Lend(Pool::OnBreak::kFail, [&](Connection& connection) {
      auto locked =
          connection.RunAll({{"BEGIN", {}}, {kLockMessage, {Shard(), SqlValue::Text(queue_id)}}});
      if (!locked.ok()) return locked.status();
      if ((*locked)[1]->size() == 0) return NotQueued(queue_id);
      std::vector<Statement> statements;
      change(*(*locked)[1], &statements);
      statements.push_back({"COMMIT", {}});
      return connection.RunAll(statements).status();
    });
  }

  static void AppendRemoval(const std::string& queue_id, absl::string_view sha256,
                            storage::BodyChanges* bodies, std::vector<Statement>* statements) {
    for (const char* sql : {kRemoveRecipients, kRemoveMessage}) {
      statements->push_back({sql, {Shard(), SqlValue::Text(queue_id)}});
    }
    bodies->Release(sha256, 1);
  }

  // What mail depends on is counted, as for every database.
  absl::Status LendCounted(Pool::OnBreak on_break,
                           absl::FunctionRef<absl::Status(Connection&)> body) {
    const absl::Time start = absl::Now();
    absl::Status status = pool_.Lend(on_break, body);
    if (status.ok()) {
      metrics_.commits.Add();
      metrics_.group_size.Observe(1);
      metrics_.commit_seconds.Observe(absl::ToDoubleSeconds(absl::Now() - start));
    } else if (absl::IsUnavailable(status) || absl::IsAborted(status) || absl::IsInternal(status)) {
      metrics_.failures.Add();
    }
    return status;
  }

  void SetSize(int64_t messages) {
    messages_.store(messages);
    gauge_.Set(static_cast<double>(messages));
  }

  absl::Status RefreshSize() {
    absl::StatusOr<std::unique_ptr<SqlRows>> size = pool_.Query(kReadSize, {Shard()});
    if (!size.ok()) return size.status();
    SetSize((*size)->Int(0, 0));
    return absl::OkStatus();
  }

  absl::StatusOr<DuePage> SelectDue(absl::Time now, const DueCursor& after, int limit);
  absl::StatusOr<std::optional<Job>> ClaimJob(const JobKey& key, absl::Time now, absl::Time until,
                                              int max_running);
  absl::StatusOr<std::string> Piece(const std::string& queue_id, int64_t index);
  absl::StatusOr<Committed> WriteOutcome(JobOutcome& outcome);
  absl::StatusOr<QueuePage> SelectPage(int page_size, absl::string_view page_token);
  absl::StatusOr<QueueEntry> SelectEntry(const std::string& queue_id);

  Pool& pool_;
  const PostgresqlSpoolOptions options_;
  telemetry::Gauge& gauge_;
  const storage::CommitMetrics metrics_{"spool"};
  std::atomic<int64_t> messages_ = 0;
  // Last, since their threads use what stands above.
  process::WorkerPool reads_;
  process::WorkerPool writes_;
};

class PostgresqlSpoolWriter final : public SpoolWriter {
 public:
  explicit PostgresqlSpoolWriter(PostgresqlSpool* spool)
      : spool_(spool), state_(std::make_shared<WriterState>()) {}
  ~PostgresqlSpoolWriter() override {
    if (!state_->committing && state_->staged.has_value()) spool_->DropStaged(*state_->staged);
  }

  void Write(std::string piece, DoneStatus done) override {
    state_->hash.Update(piece);
    state_->octets += piece.size();
    state_->eight_bit = state_->eight_bit || !text::IsAscii(piece);
    storage::CompressedPiece compressed = storage::CompressPiece(piece);
    if (state_->pieces++ == 0) {
      state_->only_piece = std::move(compressed);
      done(absl::OkStatus());
      return;
    }
    spool_->RunWriteStatus(
        [spool = spool_, state = state_, compressed = std::move(compressed),
         position = state_->pieces - 1] {
          if (position == 1) {
            state->staged = storage::NewStagedKey(kShard);
            absl::Status first = spool->AddPiece(*state->staged, 0, *state->only_piece);
            if (!first.ok()) return first;
            state->only_piece.reset();
          }
          return spool->AddPiece(*state->staged, position, compressed);
        },
        std::move(done));
  }

  void Commit(NewMessage message, Done<Committed> done) override {
    state_->committing = true;
    message.message.octets = state_->octets;
    message.message.eight_bit = state_->eight_bit;
    if (state_->pieces == 0) state_->only_piece = storage::CompressPiece("");
    spool_->RunWrite<Committed>(
        [spool = spool_, state = state_, message = std::move(message),
         sha256 = state_->hash.Finish()] { return spool->CommitMessage(*state, message, sha256); },
        [spool = spool_, state = state_,
         done = std::move(done)](absl::StatusOr<Committed> committed) mutable {
          state->committing = committed.ok();
          // A repetition, or an equal body: they are still there.
          if (committed.ok() && state->staged.has_value()) spool->DropStaged(*state->staged);
          done(std::move(committed));
        });
  }

 private:
  PostgresqlSpool* const spool_;
  const std::shared_ptr<WriterState> state_;
};

std::unique_ptr<SpoolWriter> PostgresqlSpool::NewMessageWriter() {
  return std::make_unique<PostgresqlSpoolWriter>(this);
}

absl::StatusOr<Committed> PostgresqlSpool::CommitMessage(const WriterState& writer,
                                                         const NewMessage& message,
                                                         const std::string& sha256) {
  Committed committed;
  const MessageInsertion insertion(message, sha256);
  const bool has_id = !message.delivery_id.empty();
  // Repeated after a break: with an id a second try finds the first one's effect. Our own messages
  // have none, and come with Record.
  const auto commit = [&](Connection& connection) -> absl::Status {
    std::vector<Statement> statements = {{"BEGIN", {}}, {kReadSize, {Shard()}}};
    if (has_id) {
      statements.push_back(
          {kClaimId,
           {Shard(), SqlValue::Blob(message.delivery_id), SqlValue::Blob(message.digest),
            SqlValue::Text(message.message.queue_id), Time(options_.clock())}});
    }
    if (writer.staged.has_value()) statements.push_back(storage::LockStaged(*writer.staged));
    auto begun = connection.RunAll(statements);
    if (!begun.ok()) return begun.status();
    if (has_id && (*begun)[2]->changes() == 0) {
      absl::StatusOr<std::unique_ptr<SqlRows>> earlier =
          connection.Run(kReadId, {Shard(), SqlValue::Blob(message.delivery_id)});
      if (!earlier.ok()) return earlier.status();
      // Forgotten between the two questions.
      if ((*earlier)->size() == 0) return absl::AbortedError("the delivery_id went");
      if ((*earlier)->Octets(0, 0) != message.digest) return OtherMessage();
      committed = Committed{Copy(**earlier, 0, 1), true, {}};
      return connection.Execute("ROLLBACK");
    }
    const int64_t size = (*begun)[1]->Int(0, 0);
    SetSize(size);
    if (size >= options_.max_messages) return QueueIsFull();
    if (writer.staged.has_value() && begun->back()->size() == 0) {
      return storage::PiecesExpired();
    }
    statements.clear();
    insertion.AppendTo(&statements);
    storage::BodyChanges bodies(kShard);
    if (writer.staged.has_value()) {
      storage::AppendAddStaged(*writer.staged, sha256, 1, &statements);
    } else {
      bodies.Add(sha256, *writer.only_piece, 1);
      bodies.AppendTo(&statements);
    }
    statements.push_back(SizeChange(1));
    statements.push_back({"COMMIT", {}});
    if (absl::Status status = connection.RunAll(statements).status(); !status.ok()) return status;
    committed = CommittedNow(message);
    SetSize(size + 1);
    return absl::OkStatus();
  };
  const absl::Status status =
      LendCounted(has_id ? Pool::OnBreak::kRepeat : Pool::OnBreak::kFail, commit);
  if (!status.ok()) return status;
  return committed;
}

absl::StatusOr<DuePage> PostgresqlSpool::SelectDue(absl::Time now, const DueCursor& after,
                                                   int limit) {
  absl::StatusOr<std::unique_ptr<SqlRows>> rows = pool_.Query(
      kDue, {Time(now), SqlValue::Int(after.next_attempt_us), SqlValue::Text(after.queue_id),
             SqlValue::Int(after.recipient_id), SqlValue::Int(limit)});
  if (!rows.ok()) return rows.status();
  DuePage page;
  page.cursor = after;
  for (size_t row = 0; row < (*rows)->size(); ++row) {
    page.cursor = {(*rows)->Int(row, 0), Copy(**rows, row, 1), (*rows)->Int(row, 2)};
    JobKey key{page.cursor.queue_id, Copy(**rows, row, 3)};
    if (page.keys.empty() || !(page.keys.back() == key)) page.keys.push_back(std::move(key));
  }
  page.end = (*rows)->size() < static_cast<size_t>(limit);
  if (!page.end) return page;
  absl::StatusOr<std::unique_ptr<SqlRows>> next = pool_.Query(kNextDue, {Time(now)});
  if (!next.ok()) return next.status();
  if ((*next)->size() > 0) page.next_due = absl::FromUnixMicros((*next)->Int(0, 0));
  return page;
}

absl::StatusOr<std::optional<Job>> PostgresqlSpool::ClaimJob(const JobKey& key, absl::Time now,
                                                             absl::Time until, int max_running) {
  std::optional<Job> job;
  const std::string claim = crypto::RandomId();
  // Not repeated after a break: the first try may have claimed it, and until that runs out nobody
  // knows.
  const absl::Status status = pool_.Lend(Pool::OnBreak::kFail, [&](Connection& connection) {
    const SqlValue queue_id = SqlValue::Text(key.queue_id);
    const SqlValue destination = SqlValue::Blob(key.destination);
    std::vector<Statement> statements = {
        {"BEGIN", {}},
        {kClaimJob,
         {Shard(), queue_id, destination, Time(now), Time(until), SqlValue::Blob(claim)}},
        {kReadMessage, {Shard(), queue_id}}};
    if (max_running > 0) statements.push_back({kCountClaimed, {destination, Time(now)}});
    auto answers = connection.RunAll(statements);
    if (!answers.ok()) return answers.status();
    const SqlRows& claimed = *(*answers)[1];
    const SqlRows& message = *(*answers)[2];
    if (claimed.size() == 0 || message.size() == 0) return connection.Execute("ROLLBACK");
    // This one among them.
    if (max_running > 0 && answers->back()->Int(0, 0) > max_running) {
      return absl::ResourceExhaustedError("the destination has as many sessions as it may have");
    }
    job = Job{MessageOf(message, 0), key.destination, claim, {}};
    for (size_t row = 0; row < claimed.size(); ++row) {
      job->recipients.push_back({claimed.Int(row, 0), Copy(claimed, row, 1),
                                 static_cast<int>(claimed.Int(row, 2)),
                                 /*delay_told=*/claimed.Int(row, 3) != 0});
    }
    // RETURNING promises no order.
    std::sort(job->recipients.begin(), job->recipients.end(),
              [](const Job::Recipient& a, const Job::Recipient& b) { return a.id < b.id; });
    return connection.Execute("COMMIT");
  });
  if (!status.ok()) return status;
  return job;
}

absl::StatusOr<std::string> PostgresqlSpool::Piece(const std::string& queue_id, int64_t index) {
  absl::StatusOr<std::unique_ptr<SqlRows>> rows =
      pool_.Query(kPiece, {Shard(), SqlValue::Text(queue_id)});
  if (!rows.ok()) return rows.status();
  if ((*rows)->size() == 0) return NotQueued(queue_id);
  if (!(*rows)->IsNull(0, 2)) {
    return storage::ReadStagedPiece(pool_, {kShard, Copy(**rows, 0, 2)}, index);
  }
  if (index != 0) return absl::NotFoundError("no such piece");
  return storage::DecompressPiece((*rows)->Octets(0, 1), (*rows)->Int(0, 0));
}

absl::StatusOr<Committed> PostgresqlSpool::WriteOutcome(JobOutcome& outcome) {
  Array positions = Array::Bigint();
  Array states = Array::Bigint();
  Array attempts = Array::Bigint();
  Array next = Array::Bigint();
  Array results = Array::Bytea();
  Array told = Array::Bigint();
  for (const RecipientOutcome& recipient : outcome.recipients) {
    const bool waiting = recipient.kind == RecipientOutcome::Kind::kWaiting;
    positions.Add(recipient.id);
    states.Add(waiting                                                ? kStateWaiting
               : recipient.kind == RecipientOutcome::Kind::kDelivered ? kStateDelivered
                                                                      : kStateFailed);
    attempts.Add(int64_t{recipient.attempts});
    next.Add(waiting ? absl::ToUnixMicros(recipient.next_attempt_at) : int64_t{0});
    results.Add(recipient.last_result);
    told.Add(int64_t{recipient.delay_told});
  }
  Array members = Array::Bytea();
  Array members_attempts = Array::Bigint();
  Array members_next = Array::Bigint();
  Array members_results = Array::Bytea();
  Array members_told = Array::Bigint();
  for (const AddedRecipient& added : outcome.added) {
    members.Add(added.address);
    members_attempts.Add(int64_t{added.attempts});
    members_next.Add(absl::ToUnixMicros(added.next_attempt_at));
    members_results.Add(added.last_result);
    members_told.Add(int64_t{added.delay_told});
  }
  std::optional<storage::CompressedPiece> notice_body;
  std::optional<MessageInsertion> notice;
  if (outcome.notice.has_value()) {
    DescribeBody(&*outcome.notice);
    notice_body = storage::CompressPiece(outcome.notice->body);
    notice.emplace(outcome.notice->message, crypto::Sha256Of(outcome.notice->body));
  }
  Committed committed;
  int64_t change = 0;
  const SqlValue queue_id = SqlValue::Text(outcome.queue_id);
  const absl::Status status = LendCounted(Pool::OnBreak::kFail, [&](Connection& connection) {
    committed = Committed();
    change = 0;
    auto set = connection.RunAll(
        {{"BEGIN", {}},
         {kLockMessage, {Shard(), queue_id}},
         {kSetOutcomes,
          {Shard(), queue_id, SqlValue::Blob(outcome.claim), positions.value(), states.value(),
           attempts.value(), next.value(), results.value(), told.value()}},
         {kIsWaiting, {Shard(), queue_id}}});
    if (!set.ok()) return set.status();
    if ((*set)[1]->size() == 0) return connection.Execute("ROLLBACK");
    if ((*set)[2]->changes() != static_cast<int64_t>(outcome.recipients.size())) {
      return ClaimIsStale();
    }
    std::vector<Statement> statements;
    storage::BodyChanges bodies(kShard);
    const absl::string_view sha256 = (*set)[1]->Octets(0, 0);
    if (notice.has_value()) {
      notice->AppendTo(&statements);
      bodies.Add(notice->sha256(), *notice_body, 1);
    }
    // Their addresses must stay: the statements have views of them.
    std::deque<MessageInsertion> forwarded;
    for (const NewMessage& message : outcome.forwarded) {
      forwarded.emplace_back(message, std::string(sha256.data(), sha256.size()))
          .AppendTo(&statements);
      bodies.Refer(sha256, 1);
    }
    committed = CommittedWith(outcome);
    change = CountSpooled(outcome);
    if (!outcome.added.empty()) {
      statements.push_back({kAddMembers,
                            {Shard(), queue_id, members.value(), members_attempts.value(),
                             members_next.value(), members_results.value(), members_told.value()}});
    } else if ((*set)[3]->size() == 0) {
      AppendRemoval(outcome.queue_id, sha256, &bodies, &statements);
      --change;
    }
    bodies.AppendTo(&statements);
    if (change != 0) statements.push_back(SizeChange(change));
    statements.push_back({"COMMIT", {}});
    return connection.RunAll(statements).status();
  });
  if (!status.ok()) return status;
  messages_.fetch_add(change);
  gauge_.Set(static_cast<double>(messages_.load()));
  return committed;
}

// A token is where the next page begins: after "<enqueued_at>.<queue_id>".
absl::StatusOr<QueuePage> PostgresqlSpool::SelectPage(int page_size, absl::string_view page_token) {
  int64_t after = INT64_MIN;
  std::string after_id;
  if (!page_token.empty()) {
    const std::vector<std::string> parts = absl::StrSplit(page_token, absl::MaxSplits('.', 1));
    if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &after) ||
        !std::all_of(parts[1].begin(), parts[1].end(), absl::ascii_isalnum)) {
      return NotOurPageToken();
    }
    after_id = parts[1];
  }
  absl::StatusOr<std::unique_ptr<SqlRows>> rows = pool_.Query(
      kList, {SqlValue::Int(after), SqlValue::Text(after_id), SqlValue::Int(page_size + 1)});
  if (!rows.ok()) return rows.status();
  PageFiller filler(page_size);
  for (size_t row = 0; row < (*rows)->size(); ++row) {
    QueueEntry entry{MessageOf(**rows, row), (*rows)->Int(row, 7) != 0, {}};
    absl::StatusOr<std::unique_ptr<SqlRows>> recipients =
        pool_.Query(kRecipients, {Shard(), SqlValue::Text(entry.message.queue_id)});
    if (!recipients.ok()) return recipients.status();
    entry.recipients = RecipientsOf(**recipients);
    const std::string token =
        absl::StrCat(absl::ToUnixMicros(entry.message.enqueued_at), ".", entry.message.queue_id);
    if (!filler.Add(std::move(entry))) break;
    filler.page().next_page_token = token;
  }
  if (filler.page().entries.size() == (*rows)->size()) filler.page().next_page_token.clear();
  return std::move(filler.page());
}

absl::StatusOr<QueueEntry> PostgresqlSpool::SelectEntry(const std::string& queue_id) {
  QueueEntry entry;
  const absl::Status status = pool_.Lend(Pool::OnBreak::kRepeat, [&](Connection& connection) {
    const SqlValue id = SqlValue::Text(queue_id);
    auto rows = connection.RunAll({{kReadMessage, {Shard(), id}}, {kRecipients, {Shard(), id}}});
    if (!rows.ok()) return rows.status();
    if ((*rows)[0]->size() == 0) return NotQueued(queue_id);
    entry = {MessageOf(*(*rows)[0], 0), (*rows)[0]->Int(0, 7) != 0, RecipientsOf(*(*rows)[1])};
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return entry;
}

}  // namespace

absl::Span<const storage::Migration> SpoolMigrations() {
  static const storage::Migration kMigrations[] = {
      {1, storage::PostgresqlBodySchema()}, {2, sql::k0001Spool}, {3, sql::k0003DelayTold}};
  return kMigrations;
}

std::unique_ptr<Spool> MakePostgresqlSpool(Pool* pool, const PostgresqlSpoolOptions& options) {
  return std::make_unique<PostgresqlSpool>(pool, options);
}

}  // namespace postern::relay
