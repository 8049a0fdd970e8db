#include "store-svc/postgresql/postgresql_mail_store.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/crypto/sha256.h"
#include "services/process/worker_pool.h"
#include "services/storage/body/piece_codec.h"
#include "services/storage/body/postgresql_bodies.h"
#include "services/storage/postgresql/array.h"
#include "services/storage/postgresql/connection.h"
#include "store-svc/domain/delivery_rules.h"
#include "store-svc/postgresql/delivery_batch.h"
#include "store-svc/postgresql/delivery_queue.h"
#include "store-svc/postgresql/schema.h"
#include "store-svc/postgresql/spread_delivery.h"

namespace postern::store {
namespace {

using storage::SqlRows;
using storage::SqlValue;
using storage::StagedKey;
using storage::postgresql::Array;
using storage::postgresql::Connection;
using storage::postgresql::Pool;
using storage::postgresql::Statement;

constexpr size_t kDeliveryWriters = 2;
static_assert(kMailStoreWriters > kDeliveryWriters);

// Messages that one transaction deletes, of a purge or of a session: it holds the mailbox, which
// deliveries to it wait for.
constexpr size_t kDeletionBatch = 200;
// Left-overs that one look takes up.
constexpr int64_t kLeftOvers = 100;

constexpr char kListingStart[] =
    "SELECT b.uid_validity, b.uid_next, b.messages, b.octets, "
    "EXISTS (SELECT 1 FROM deletion WHERE shard = $1 AND mailbox_id = $2), m.uid, m.octets "
    "FROM mailbox b LEFT JOIN LATERAL (SELECT uid, octets FROM message "
    "WHERE shard = $1 AND mailbox_id = $2 ORDER BY uid LIMIT $3) m ON true "
    "WHERE b.shard = $1 AND b.mailbox_id = $2 ORDER BY m.uid";
constexpr char kEntries[] =
    "SELECT uid, octets FROM message WHERE shard = $1 AND mailbox_id = $2 AND uid > $3 "
    "AND uid < $4 ORDER BY uid LIMIT $5";
constexpr char kMessage[] =
    "SELECT m.prefix, m.octets, b.piece_key, coalesce(b.original_octets, p.original_octets), "
    "coalesce(b.octets, p.octets) FROM message m "
    "JOIN body b ON b.shard = $1 AND b.sha256 = m.sha256 "
    "LEFT JOIN body_piece p ON p.shard = $1 AND p.piece_key = b.piece_key AND p.position = 0 "
    "WHERE m.shard = $1 AND m.mailbox_id = $2 AND m.uid = $3";
// One message more than asked for, to name the next; bodies of those that fit together.
constexpr char kWhole[] =
    "SELECT m.uid, m.octets, m.prefix, b.original_octets, b.octets, b.piece_key FROM "
    "(SELECT uid, octets, prefix, sha256, "
    "(sum(octets) OVER (ORDER BY uid))::bigint AS total, row_number() OVER (ORDER BY uid) AS place "
    "FROM (SELECT uid, octets, prefix, sha256 FROM message WHERE shard = $1 AND mailbox_id = $2 "
    "AND uid >= $3 AND uid < $4 ORDER BY uid LIMIT $5 + 1) AS page) AS m "
    "LEFT JOIN body b ON b.shard = $1 AND b.sha256 = m.sha256 AND m.total <= $6 AND m.place <= $5 "
    "ORDER BY m.uid";
constexpr char kUsages[] =
    "SELECT mailbox_id, messages, octets, quota_messages, quota_octets FROM mailbox "
    "WHERE shard = $1 AND mailbox_id = ANY($2::bytea[])";
constexpr char kUsagesInOrder[] =
    "SELECT mailbox_id, messages, octets, quota_messages, quota_octets FROM mailbox "
    "WHERE (shard, mailbox_id) > ($1, $2) ORDER BY shard, mailbox_id LIMIT $3";

// -1: stays. An absent row has none that could.
constexpr char kSetQuota[] =
    "INSERT INTO mailbox (shard, mailbox_id, uid_validity, uid_next, messages, octets, "
    "quota_messages, quota_octets) VALUES ($1, $2, $3, 1, 0, 0, "
    "nullif(greatest($4::bigint, 0), 0), nullif(greatest($5::bigint, 0), 0)) "
    "ON CONFLICT (shard, mailbox_id) DO UPDATE SET "
    "quota_messages = CASE $4::bigint WHEN -1 THEN mailbox.quota_messages "
    "ELSE excluded.quota_messages END, "
    "quota_octets = CASE $5::bigint WHEN -1 THEN mailbox.quota_octets "
    "ELSE excluded.quota_octets END";

constexpr char kLockLease[] =
    "SELECT 1 FROM lease WHERE shard = $1 AND mailbox_id = $2 AND fence = $3 "
    "AND (free_after IS NULL OR free_after > now()) FOR UPDATE";
constexpr char kLockMailbox[] =
    "SELECT 1 FROM mailbox WHERE shard = $1 AND mailbox_id = $2 FOR UPDATE";
constexpr char kSetDown[] =
    "INSERT INTO deletion (shard, mailbox_id, uid) SELECT $1, $2, uid FROM unnest($3::bigint[]) "
    "AS uid ON CONFLICT DO NOTHING";
// What they return goes to Release.
constexpr char kDeleteNamed[] =
    "DELETE FROM message WHERE shard = $1 AND mailbox_id = $2 AND uid = ANY($3::bigint[]) "
    "RETURNING sha256, octets";
constexpr char kDeleteSetDown[] =
    "WITH page AS (DELETE FROM deletion WHERE shard = $1 AND mailbox_id = $2 AND uid IN "
    "(SELECT uid FROM deletion WHERE shard = $1 AND mailbox_id = $2 ORDER BY uid LIMIT $3) "
    "RETURNING uid) "
    "DELETE FROM message WHERE shard = $1 AND mailbox_id = $2 AND uid IN (SELECT uid FROM page) "
    "RETURNING sha256, octets";
constexpr char kDeleteFirst[] =
    "DELETE FROM message WHERE shard = $1 AND mailbox_id = $2 AND uid IN (SELECT uid FROM message "
    "WHERE shard = $1 AND mailbox_id = $2 ORDER BY uid LIMIT $3) RETURNING sha256, octets";
constexpr char kIsSetDown[] = "SELECT 1 FROM deletion WHERE shard = $1 AND mailbox_id = $2 LIMIT 1";
constexpr char kCountOut[] =
    "UPDATE mailbox SET messages = messages - $3, octets = octets - $4 "
    "WHERE shard = $1 AND mailbox_id = $2";

constexpr char kOldDeliveries[] =
    "SELECT shard, delivery_id FROM delivery WHERE committed_at < $1 ORDER BY committed_at "
    "LIMIT $2";
constexpr char kForget[] =
    "DELETE FROM delivery WHERE shard = $1 AND delivery_id = ANY($2::bytea[])";
constexpr char kUnfinishedDeletions[] = "SELECT DISTINCT mailbox_id FROM deletion LIMIT $1";

SqlValue Unsigned(uint64_t number) {
  return SqlValue::Int(static_cast<int64_t>(std::min<uint64_t>(number, INT64_MAX)));
}
SqlValue Shard(const MailboxId& mailbox) { return SqlValue::Int(mailbox.shard()); }
SqlValue Id(const MailboxId& mailbox) { return SqlValue::Blob(mailbox.octets()); }

// How StoredMessage names a body: by its pieces.
std::string BodyName(const StagedKey& key) { return absl::StrCat(key.shard, "-", key.octets); }

absl::StatusOr<StagedKey> ParseBodyName(absl::string_view name) {
  const size_t dash = name.find('-');
  StagedKey key;
  if (dash == absl::string_view::npos || !absl::SimpleAtoi(name.substr(0, dash), &key.shard)) {
    return absl::NotFoundError("no such body");
  }
  key.octets = std::string(name.substr(dash + 1));
  return key;
}

absl::Status TooManyWrites() { return absl::UnavailableError("too many writes wait"); }
absl::Status StaleFence() { return absl::FailedPreconditionError("the lease's fence is stale"); }

Array Numbers(const std::vector<uint64_t>& numbers) {
  Array array = Array::Bigint();
  for (const uint64_t number : numbers) array.Add(static_cast<int64_t>(number));
  return array;
}

// Of rows with uid and octets from `column` on.
std::vector<MessageEntry> EntriesOf(const SqlRows& rows, int column) {
  std::vector<MessageEntry> entries;
  entries.reserve(rows.size());
  for (size_t row = 0; row < rows.size(); ++row) {
    entries.push_back({static_cast<uint64_t>(rows.Int(row, column)),
                       static_cast<uint64_t>(rows.Int(row, column + 1))});
  }
  return entries;
}

// Takes the references of deleted messages back, counts them out, and commits.
absl::Status ReleaseAndCommit(Connection& connection, const MailboxId& mailbox,
                              const SqlRows& deleted) {
  if (deleted.size() == 0) return connection.Execute("COMMIT");
  storage::BodyChanges bodies(mailbox.shard());
  int64_t octets = 0;
  for (size_t row = 0; row < deleted.size(); ++row) {
    bodies.Release(deleted.Octets(row, 0), 1);
    octets += deleted.Int(row, 1);
  }
  std::vector<Statement> statements = {
      {kCountOut, {Shard(mailbox), Id(mailbox), Unsigned(deleted.size()), SqlValue::Int(octets)}}};
  bodies.AppendTo(&statements);
  statements.push_back({"COMMIT", {}});
  return connection.RunAll(statements).status();
}

// The beginning of a transaction that only the lease's holder may commit.
std::vector<Statement> BeginWithLease(const MailboxId& mailbox, uint64_t fence) {
  std::vector<Statement> statements = {{"BEGIN", {}}};
  if (fence != kNoFence) {
    statements.push_back({kLockLease, {Shard(mailbox), Id(mailbox), Unsigned(fence)}});
  }
  return statements;
}

// Of its answers. FAILED_PRECONDITION: the lease is another's.
absl::Status CheckLease(uint64_t fence, absl::Span<const std::unique_ptr<SqlRows>> answers) {
  return fence == kNoFence || answers[1]->size() > 0 ? absl::OkStatus() : StaleFence();
}

class PostgresqlMailStore;

class PostgresqlStagedBody final : public StagedBody {
 public:
  PostgresqlStagedBody(PostgresqlMailStore* store, int32_t shard) : store_(store), shard_(shard) {}
  ~PostgresqlStagedBody() override;

  void Append(absl::string_view piece, absl::AnyInvocable<void(absl::Status)> done) override;
  void Deliver(Delivery delivery,
               absl::AnyInvocable<void(absl::StatusOr<DeliveryResult>)> done) override;

 private:
  PostgresqlMailStore* const store_;
  const int32_t shard_;
  crypto::Sha256 hash_;
  uint64_t octets_ = 0;
  int64_t pieces_ = 0;
  // Since the first piece. What a body did not take of it is dropped in the end.
  std::optional<StagedKey> staged_;
};

class PostgresqlMailStore final : public MailStore {
 public:
  PostgresqlMailStore(Pool* pool, const PostgresqlMailStoreOptions& options, process::Clock clock)
      : pool_(*pool),
        quota_(options.quota),
        clock_(std::move(clock)),
        deliveries_(pool,
                    {.writers = kDeliveryWriters,
                     .max_waiting = options.max_waiting,
                     .quota = options.quota},
                    clock_),
        writes_(kMailStoreWriters - kDeliveryWriters, options.max_waiting) {}

  void Deliver(Delivery delivery, absl::string_view body,
               absl::AnyInvocable<void(absl::StatusOr<DeliveryResult>)> done) override;
  std::unique_ptr<StagedBody> StageBody(const MailboxId& mailbox) override {
    return std::make_unique<PostgresqlStagedBody>(this, mailbox.shard());
  }
  absl::StatusOr<std::vector<MailboxId>> FindFull(absl::Span<const MailboxId> ids) override;
  absl::StatusOr<ListingStart> StartListing(const MailboxId& mailbox, size_t limit) override;
  absl::StatusOr<std::vector<MessageEntry>> List(const MailboxId& mailbox, uint64_t after_uid,
                                                 uint64_t before_uid, size_t limit) override;
  absl::StatusOr<StoredMessage> Read(const MailboxId& mailbox, uint64_t uid) override;
  absl::StatusOr<WholeMessages> ReadWhole(const MailboxId& mailbox, uint64_t uid,
                                          uint64_t before_uid, size_t limit,
                                          uint64_t max_octets) override;
  absl::StatusOr<std::string> ReadPiece(absl::string_view body, int64_t index) override;
  void Delete(const MailboxId& mailbox, uint64_t fence, std::vector<uint64_t> uids,
              absl::AnyInvocable<void(absl::Status)> done) override;
  absl::StatusOr<MailboxUsage> Usage(const MailboxId& mailbox) override;
  absl::StatusOr<std::vector<MailboxUsage>> ListMailboxes(const std::optional<MailboxId>& after,
                                                          size_t limit) override;
  void SetQuota(const MailboxId& mailbox, const QuotaChange& change,
                absl::AnyInvocable<void(absl::Status)> done) override;
  void Purge(const MailboxId& mailbox,
             absl::AnyInvocable<void(absl::StatusOr<uint64_t>)> done) override {
    PurgeMore(mailbox, 0, std::move(done));
  }
  void ForgetDeliveries(absl::Time before, size_t limit,
                        absl::AnyInvocable<void(absl::StatusOr<size_t>)> done) override;
  absl::Status Check() override { return pool_.Query("SELECT 1", {}).status(); }

  // For PostgresqlStagedBody.
  void Deliver(std::unique_ptr<PendingDelivery> pending);
  Pool& pool() { return pool_; }
  // Nothing when the pieces are a body's.
  void DropStaged(const StagedKey& key);
  // Runs `job` on a thread that may block, and gives `done` its answer.
  template <typename Answer>
  void Write(absl::AnyInvocable<Answer()> job, absl::AnyInvocable<void(Answer)> done);

 private:
  absl::StatusOr<std::vector<Room>> ReadRooms(absl::Span<const MailboxId> ids);
  // The body of a row of kWhole, up to `octets` with what is there.
  absl::Status AppendBody(const SqlRows& rows, size_t row, int32_t shard, uint64_t octets,
                          std::string* to);
  void DeliverToShards(std::unique_ptr<PendingDelivery> pending);
  absl::StatusOr<DeliveryResult> DeliverToShards(const PendingDelivery& whole);
  // Runs `deleting` among the locks of a deletion, with the lease's unless that is kNoFence; how
  // many messages went. `left`: whether more are set down.
  absl::StatusOr<uint64_t> RunDeletion(const MailboxId& mailbox, uint64_t fence,
                                       const Statement& deleting, bool* left = nullptr);
  absl::Status SetDown(const MailboxId& mailbox, uint64_t fence, const std::vector<uint64_t>& uids);
  void DeleteMore(const MailboxId& mailbox, absl::AnyInvocable<void(absl::Status)> done);
  void PurgeMore(const MailboxId& mailbox, uint64_t purged,
                 absl::AnyInvocable<void(absl::StatusOr<uint64_t>)> done);
  // Unless it is under way here already.
  void FinishDeletion(const MailboxId& mailbox);
  absl::StatusOr<size_t> Forget(absl::Time before, size_t limit);
  absl::Status TakeUpLeftOvers();

  Pool& pool_;
  const Quota quota_;
  const process::Clock clock_;

  absl::Mutex mutex_;
  absl::flat_hash_set<MailboxId> finishing_ ABSL_GUARDED_BY(mutex_);

  // Their callbacks use the rest until they are gone, and jobs of the pool wait for the queue.
  DeliveryQueue deliveries_;
  process::WorkerPool writes_;
};

PostgresqlStagedBody::~PostgresqlStagedBody() {
  if (staged_.has_value()) store_->DropStaged(*staged_);
}

void PostgresqlStagedBody::Append(absl::string_view piece,
                                  absl::AnyInvocable<void(absl::Status)> done) {
  hash_.Update(piece);
  octets_ += piece.size();
  if (!staged_.has_value()) staged_ = storage::NewStagedKey(shard_);
  store_->Write<absl::Status>(
      [this, compressed = storage::CompressPiece(piece), position = pieces_++] {
        return WithoutFullDisk(storage::StagePiece(store_->pool(), *staged_, position, compressed));
      },
      std::move(done));
}

void PostgresqlStagedBody::Deliver(Delivery delivery,
                                   absl::AnyInvocable<void(absl::StatusOr<DeliveryResult>)> done) {
  auto pending = std::make_unique<PendingDelivery>();
  pending->delivery = std::move(delivery);
  pending->sha256 = hash_.Finish();
  pending->digest = DeliveryDigest(pending->delivery, pending->sha256);
  pending->body_octets = octets_;
  pending->staged = staged_;
  pending->done = std::move(done);
  store_->Deliver(std::move(pending));
}

void PostgresqlMailStore::Deliver(Delivery delivery, absl::string_view body,
                                  absl::AnyInvocable<void(absl::StatusOr<DeliveryResult>)> done) {
  auto pending = std::make_unique<PendingDelivery>();
  pending->delivery = std::move(delivery);
  pending->sha256 = crypto::Sha256Of(body);
  pending->digest = DeliveryDigest(pending->delivery, pending->sha256);
  pending->piece = storage::CompressPiece(body);
  pending->body_octets = body.size();
  pending->done = std::move(done);
  Deliver(std::move(pending));
}

void PostgresqlMailStore::Deliver(std::unique_ptr<PendingDelivery> pending) {
  const std::vector<Recipient>& to = pending->delivery.recipients;
  const bool one_shard = std::all_of(to.begin(), to.end(), [&](const Recipient& recipient) {
    return recipient.mailbox.shard() == to.front().mailbox.shard();
  });
  if (one_shard) {
    deliveries_.Submit(std::move(pending));
  } else {
    DeliverToShards(std::move(pending));
  }
}

void PostgresqlMailStore::DeliverToShards(std::unique_ptr<PendingDelivery> pending) {
  auto done = std::move(pending->done);
  Write<absl::StatusOr<DeliveryResult>>(
      [this, pending = std::move(pending)] { return DeliverToShards(*pending); }, std::move(done));
}

absl::StatusOr<DeliveryResult> PostgresqlMailStore::DeliverToShards(const PendingDelivery& whole) {
  std::vector<MailboxId> mailboxes;
  for (const Recipient& to : whole.delivery.recipients) mailboxes.push_back(to.mailbox);
  absl::StatusOr<std::vector<Room>> rooms = ReadRooms(mailboxes);
  if (!rooms.ok()) return rooms.status();
  std::vector<std::unique_ptr<PendingDelivery>> parts = SplitByShard(whole, *rooms);
  std::vector<StagedKey> copies;
  const absl::Cleanup drop = [&] {
    for (const StagedKey& copy : copies) storage::DropStaged(pool_, copy).IgnoreError();
  };
  for (std::unique_ptr<PendingDelivery>& part : parts) {
    if (!part->staged.has_value() || part->staged->shard == part->shard()) continue;
    copies.push_back(storage::NewStagedKey(part->shard()));
    const absl::Status copied = storage::CopyStaged(pool_, *part->staged, copies.back());
    if (!copied.ok()) return WithoutFullDisk(copied);
    part->staged = copies.back();
  }
  return DeliverInTurn(deliveries_, std::move(parts));
}

template <typename Answer>
void PostgresqlMailStore::Write(absl::AnyInvocable<Answer()> job,
                                absl::AnyInvocable<void(Answer)> done) {
  process::RunOn<Answer>(writes_, std::move(job), std::move(done), TooManyWrites());
}

void PostgresqlMailStore::DropStaged(const StagedKey& key) {
  // What is not dropped expires.
  Write<absl::Status>([this, key] { return storage::DropStaged(pool_, key); },
                      [](const absl::Status&) {});
}

absl::StatusOr<std::vector<Room>> PostgresqlMailStore::ReadRooms(absl::Span<const MailboxId> ids) {
  std::map<int32_t, Array> by_shard;
  for (const MailboxId& id : ids) {
    by_shard.try_emplace(id.shard(), Array::Bytea()).first->second.Add(id.octets());
  }
  absl::flat_hash_map<MailboxId, Room> rooms;
  for (const auto& [shard, mailboxes] : by_shard) {
    absl::StatusOr<std::unique_ptr<SqlRows>> rows =
        pool_.Query(kUsages, {SqlValue::Int(shard), mailboxes.value()});
    if (!rows.ok()) return rows.status();
    for (size_t row = 0; row < (*rows)->size(); ++row) {
      const MailboxUsage usage = UsageOf(**rows, row, quota_);
      rooms.emplace(usage.mailbox, RoomOf(usage));
    }
  }
  std::vector<Room> in_order;
  for (const MailboxId& id : ids) {
    auto found = rooms.find(id);
    in_order.push_back(found == rooms.end() ? Room::kFree : found->second);
  }
  return in_order;
}

absl::StatusOr<std::vector<MailboxId>> PostgresqlMailStore::FindFull(
    absl::Span<const MailboxId> ids) {
  absl::StatusOr<std::vector<Room>> rooms = ReadRooms(ids);
  if (!rooms.ok()) return rooms.status();
  return WhoIsFull(ids, *rooms);
}

absl::StatusOr<ListingStart> PostgresqlMailStore::StartListing(const MailboxId& mailbox,
                                                               size_t limit) {
  absl::StatusOr<std::unique_ptr<SqlRows>> rows =
      pool_.Query(kListingStart, {Shard(mailbox), Id(mailbox), Unsigned(limit)});
  if (!rows.ok()) return rows.status();
  ListingStart start;
  if ((*rows)->size() == 0) return start;
  if ((*rows)->Int(0, 4) != 0) {
    // Whoever was at it may be gone.
    FinishDeletion(mailbox);
    return absl::UnavailableError("what the last session deleted is not all gone yet");
  }
  start.uid_validity = static_cast<uint32_t>((*rows)->Int(0, 0));
  start.uid_next = static_cast<uint64_t>((*rows)->Int(0, 1));
  start.messages = static_cast<uint64_t>((*rows)->Int(0, 2));
  start.octets = static_cast<uint64_t>((*rows)->Int(0, 3));
  if (!(*rows)->IsNull(0, 5)) start.first_page = EntriesOf(**rows, 5);
  return start;
}

absl::StatusOr<std::vector<MessageEntry>> PostgresqlMailStore::List(const MailboxId& mailbox,
                                                                    uint64_t after_uid,
                                                                    uint64_t before_uid,
                                                                    size_t limit) {
  absl::StatusOr<std::unique_ptr<SqlRows>> rows = pool_.Query(
      kEntries,
      {Shard(mailbox), Id(mailbox), Unsigned(after_uid), Unsigned(before_uid), Unsigned(limit)});
  if (!rows.ok()) return rows.status();
  return EntriesOf(**rows, 0);
}

absl::StatusOr<StoredMessage> PostgresqlMailStore::Read(const MailboxId& mailbox, uint64_t uid) {
  absl::StatusOr<std::unique_ptr<SqlRows>> rows =
      pool_.Query(kMessage, {Shard(mailbox), Id(mailbox), Unsigned(uid)});
  if (!rows.ok()) return rows.status();
  if ((*rows)->size() == 0) return absl::NotFoundError("no such message");
  const SqlRows& row = **rows;
  StoredMessage message;
  message.prefix = std::string(row.Octets(0, 0));
  message.octets = static_cast<uint64_t>(row.Int(0, 1));
  if (!row.IsNull(0, 2)) {
    message.body = BodyName({mailbox.shard(), std::string(row.Octets(0, 2))});
  }
  if (row.IsNull(0, 4)) return absl::DataLossError("a message has no body");
  absl::StatusOr<std::string> piece = storage::DecompressPiece(row.Octets(0, 4), row.Int(0, 3));
  if (!piece.ok()) return piece.status();
  message.first_piece = *std::move(piece);
  return message;
}

absl::StatusOr<WholeMessages> PostgresqlMailStore::ReadWhole(const MailboxId& mailbox, uint64_t uid,
                                                             uint64_t before_uid, size_t limit,
                                                             uint64_t max_octets) {
  absl::StatusOr<std::unique_ptr<SqlRows>> rows =
      pool_.Query(kWhole, {Shard(mailbox), Id(mailbox), Unsigned(uid), Unsigned(before_uid),
                           Unsigned(limit), Unsigned(max_octets)});
  if (!rows.ok()) return rows.status();
  WholeMessages whole;
  uint64_t total = 0;
  for (size_t row = 0; row < (*rows)->size(); ++row) {
    const bool first = row == 0;
    const uint64_t found = static_cast<uint64_t>((*rows)->Int(row, 0));
    if (first && found != uid) return absl::NotFoundError("no such message");
    const uint64_t octets = static_cast<uint64_t>((*rows)->Int(row, 1));
    total += octets;
    if (first && total > max_octets) return absl::OutOfRangeError("the message has more octets");
    whole.next_uid = found;
    if (whole.messages.size() == limit || total > max_octets) return whole;
    WholeMessages::Message message{found, std::string((*rows)->Octets(row, 2))};
    const absl::Status body = AppendBody(**rows, row, mailbox.shard(), octets, &message.octets);
    // One that can't be read fails for itself, when it is asked for.
    if (!body.ok() && !first) return whole;
    if (!body.ok()) return body;
    whole.next_uid = 0;
    whole.messages.push_back(std::move(message));
  }
  if (whole.messages.empty()) return absl::NotFoundError("no such message");
  return whole;
}

absl::Status PostgresqlMailStore::AppendBody(const SqlRows& rows, size_t row, int32_t shard,
                                             uint64_t octets, std::string* to) {
  const StagedKey key{shard, std::string(rows.Octets(row, 5))};
  const bool in_pieces = !rows.IsNull(row, 5);
  if (!in_pieces && rows.IsNull(row, 4)) return absl::DataLossError("a message has no body");
  int64_t index = 0;
  do {
    absl::StatusOr<std::string> piece =
        in_pieces ? storage::ReadStagedPiece(pool_, key, index++)
                  : storage::DecompressPiece(rows.Octets(row, 4), rows.Int(row, 3));
    if (!piece.ok()) return piece.status();
    to->append(*piece);
  } while (in_pieces && to->size() < octets);
  return to->size() == octets
             ? absl::OkStatus()
             : absl::DataLossError("a message has not the length that its entry says");
}

absl::StatusOr<std::string> PostgresqlMailStore::ReadPiece(absl::string_view body, int64_t index) {
  absl::StatusOr<StagedKey> key = ParseBodyName(body);
  return key.ok() ? storage::ReadStagedPiece(pool_, *key, index) : key.status();
}

absl::StatusOr<uint64_t> PostgresqlMailStore::RunDeletion(const MailboxId& mailbox, uint64_t fence,
                                                          const Statement& deleting, bool* left) {
  uint64_t deleted = 0;
  // Repeated after a break: what is deleted already is not there.
  const absl::Status status = pool_.Lend(Pool::OnBreak::kRepeat, [&](Connection& connection) {
    const SqlValue shard = Shard(mailbox);
    std::vector<Statement> statements = BeginWithLease(mailbox, fence);
    statements.push_back({kLockMailbox, {shard, Id(mailbox)}});
    statements.push_back(deleting);
    const size_t deletion = statements.size() - 1;
    if (left != nullptr) statements.push_back({kIsSetDown, {shard, Id(mailbox)}});
    auto answers = connection.RunAll(statements);
    if (!answers.ok()) return answers.status();
    if (absl::Status held = CheckLease(fence, *answers); !held.ok()) return held;
    if (left != nullptr) *left = answers->back()->size() > 0;
    deleted = (*answers)[deletion]->size();
    return ReleaseAndCommit(connection, mailbox, *(*answers)[deletion]);
  });
  if (!status.ok()) return status;
  return deleted;
}

void PostgresqlMailStore::Delete(const MailboxId& mailbox, uint64_t fence,
                                 std::vector<uint64_t> uids,
                                 absl::AnyInvocable<void(absl::Status)> done) {
  if (uids.size() <= kDeletionBatch) {
    Write<absl::Status>(
        [this, mailbox, fence, uids = std::move(uids)] {
          const Array named = Numbers(uids);
          return RunDeletion(mailbox, fence,
                             {kDeleteNamed, {Shard(mailbox), Id(mailbox), named.value()}})
              .status();
        },
        std::move(done));
    return;
  }
  Write<absl::Status>(
      [this, mailbox, fence, uids = std::move(uids)] { return SetDown(mailbox, fence, uids); },
      [this, mailbox, done = std::move(done)](absl::Status status) mutable {
        if (status.ok()) {
          DeleteMore(mailbox, std::move(done));
        } else {
          std::move(done)(status);
        }
      });
}

absl::Status PostgresqlMailStore::SetDown(const MailboxId& mailbox, uint64_t fence,
                                          const std::vector<uint64_t>& uids) {
  return pool_.Lend(Pool::OnBreak::kRepeat, [&](Connection& connection) {
    const Array named = Numbers(uids);
    std::vector<Statement> statements = BeginWithLease(mailbox, fence);
    statements.push_back({kSetDown, {Shard(mailbox), Id(mailbox), named.value()}});
    auto answers = connection.RunAll(statements);
    if (!answers.ok()) return answers.status();
    if (absl::Status held = CheckLease(fence, *answers); !held.ok()) return held;
    return connection.Execute("COMMIT");
  });
}

void PostgresqlMailStore::DeleteMore(const MailboxId& mailbox,
                                     absl::AnyInvocable<void(absl::Status)> done) {
  Write<absl::StatusOr<bool>>(
      [this, mailbox]() -> absl::StatusOr<bool> {
        bool left = false;
        absl::StatusOr<uint64_t> deleted = RunDeletion(
            mailbox, kNoFence,
            {kDeleteSetDown, {Shard(mailbox), Id(mailbox), Unsigned(kDeletionBatch)}}, &left);
        if (!deleted.ok()) return deleted.status();
        return left;
      },
      [this, mailbox, done = std::move(done)](absl::StatusOr<bool> left) mutable {
        if (left.ok() && *left) {
          DeleteMore(mailbox, std::move(done));
        } else {
          std::move(done)(left.status());
        }
      });
}

void PostgresqlMailStore::FinishDeletion(const MailboxId& mailbox) {
  {
    absl::MutexLock lock(&mutex_);
    if (!finishing_.insert(mailbox).second) return;
  }
  DeleteMore(mailbox, [this, mailbox](const absl::Status&) {
    absl::MutexLock lock(&mutex_);
    finishing_.erase(mailbox);
  });
}

void PostgresqlMailStore::SetQuota(const MailboxId& mailbox, const QuotaChange& change,
                                   absl::AnyInvocable<void(absl::Status)> done) {
  const auto number = [](const std::optional<uint64_t>& quota) {
    return quota.has_value() ? Unsigned(*quota) : SqlValue::Int(-1);
  };
  Write<absl::Status>(
      [this, mailbox, change, number, now = clock_()] {
        return pool_
            .Change(Pool::OnBreak::kRepeat, kSetQuota,
                    {Shard(mailbox), Id(mailbox), SqlValue::Int(absl::ToUnixSeconds(now)),
                     number(change.messages), number(change.octets)})
            .status();
      },
      std::move(done));
}

void PostgresqlMailStore::PurgeMore(const MailboxId& mailbox, uint64_t purged,
                                    absl::AnyInvocable<void(absl::StatusOr<uint64_t>)> done) {
  Write<absl::StatusOr<uint64_t>>(
      [this, mailbox] {
        return RunDeletion(mailbox, kNoFence,
                           {kDeleteFirst, {Shard(mailbox), Id(mailbox), Unsigned(kDeletionBatch)}});
      },
      [this, mailbox, purged, done = std::move(done)](absl::StatusOr<uint64_t> deleted) mutable {
        if (!deleted.ok()) {
          std::move(done)(deleted.status());
        } else if (*deleted == 0) {
          std::move(done)(purged);
        } else {
          PurgeMore(mailbox, purged + *deleted, std::move(done));
        }
      });
}

absl::StatusOr<MailboxUsage> PostgresqlMailStore::Usage(const MailboxId& mailbox) {
  Array one = Array::Bytea();
  one.Add(mailbox.octets());
  absl::StatusOr<std::unique_ptr<SqlRows>> rows =
      pool_.Query(kUsages, {Shard(mailbox), one.value()});
  if (!rows.ok()) return rows.status();
  if ((*rows)->size() == 0) {
    return absl::NotFoundError("the mailbox never had a message nor a quota of its own");
  }
  return UsageOf(**rows, 0, quota_);
}

absl::StatusOr<std::vector<MailboxUsage>> PostgresqlMailStore::ListMailboxes(
    const std::optional<MailboxId>& after, size_t limit) {
  absl::StatusOr<std::unique_ptr<SqlRows>> rows = pool_.Query(
      kUsagesInOrder, {after.has_value() ? Shard(*after) : SqlValue::Int(0),
                       after.has_value() ? Id(*after) : SqlValue::Blob(""), Unsigned(limit)});
  if (!rows.ok()) return rows.status();
  std::vector<MailboxUsage> usages;
  for (size_t row = 0; row < (*rows)->size(); ++row) {
    usages.push_back(UsageOf(**rows, row, quota_));
  }
  return usages;
}

void PostgresqlMailStore::ForgetDeliveries(absl::Time before, size_t limit,
                                           absl::AnyInvocable<void(absl::StatusOr<size_t>)> done) {
  Write<absl::StatusOr<size_t>>(
      [this, before, limit]() -> absl::StatusOr<size_t> {
        if (absl::Status status = TakeUpLeftOvers(); !status.ok()) return status;
        return Forget(before, limit);
      },
      std::move(done));
}

absl::Status PostgresqlMailStore::TakeUpLeftOvers() {
  absl::StatusOr<std::unique_ptr<SqlRows>> mailboxes =
      pool_.Query(kUnfinishedDeletions, {SqlValue::Int(kLeftOvers)});
  if (!mailboxes.ok()) return mailboxes.status();
  for (size_t row = 0; row < (*mailboxes)->size(); ++row) {
    FinishDeletion(MailboxId::FromOctets((*mailboxes)->Octets(row, 0)));
  }
  absl::StatusOr<std::vector<StagedKey>> expired = storage::FindExpired(pool_, kLeftOvers);
  if (!expired.ok()) return expired.status();
  for (const StagedKey& key : *expired) DropStaged(key);
  return absl::OkStatus();
}

absl::StatusOr<size_t> PostgresqlMailStore::Forget(absl::Time before, size_t limit) {
  absl::StatusOr<std::unique_ptr<SqlRows>> old =
      pool_.Query(kOldDeliveries, {SqlValue::Int(absl::ToUnixSeconds(before)), Unsigned(limit)});
  if (!old.ok()) return old.status();
  // In the order that those who claim them lock them in.
  std::map<int32_t, std::set<absl::string_view>> by_shard;
  for (size_t row = 0; row < (*old)->size(); ++row) {
    by_shard[static_cast<int32_t>((*old)->Int(row, 0))].insert((*old)->Octets(row, 1));
  }
  int64_t forgotten = 0;
  for (const auto& [shard, ids] : by_shard) {
    Array array = Array::Bytea();
    for (const absl::string_view id : ids) array.Add(id);
    const absl::StatusOr<int64_t> gone =
        pool_.Change(Pool::OnBreak::kRepeat, kForget, {SqlValue::Int(shard), array.value()});
    if (!gone.ok()) return gone.status();
    forgotten += *gone;
  }
  return static_cast<size_t>(forgotten);
}

}  // namespace

absl::Span<const storage::Migration> MailMigrations() {
  static const storage::Migration kMigrations[] = {{1, storage::PostgresqlBodySchema()},
                                                   {2, sql::k0001Mail}};
  return kMigrations;
}

std::unique_ptr<MailStore> MakePostgresqlMailStore(Pool* pool,
                                                   const PostgresqlMailStoreOptions& options,
                                                   process::Clock clock) {
  return std::make_unique<PostgresqlMailStore>(pool, options, std::move(clock));
}

}  // namespace postern::store
