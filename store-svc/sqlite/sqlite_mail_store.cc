#include "store-svc/sqlite/sqlite_mail_store.h"

#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/synchronization/mutex.h"
#include "services/crypto/sha256.h"
#include "services/storage/body/body_store.h"
#include "services/storage/sqlite/group_commit.h"
#include "services/storage/sqlite/reader_pool.h"
#include "services/storage/sqlite/sqlite.h"
#include "store-svc/domain/delivery_rules.h"
#include "store-svc/sqlite/mail_reads.h"
#include "store-svc/sqlite/mail_writes.h"
#include "store-svc/sqlite/migrations.h"

namespace postern::store {
namespace {

using storage::CompressedPiece;
using storage::GroupCommit;
using storage::ReaderPool;
using storage::Sqlite;
using storage::Statement;

// Messages that one commit deletes, of a purge or of a session: it keeps deliveries waiting.
constexpr size_t kDeletionBatch = 200;

// One delivery on its way through the writer. `refusal` and `result` are of the last run.
struct PendingDelivery {
  Delivery delivery;
  std::string digest;
  std::string sha256;
  CompressedPiece piece;
  uint64_t body_octets = 0;
  absl::Status refusal;
  DeliveryResult result;
  absl::AnyInvocable<void(absl::StatusOr<DeliveryResult>)> done;

  absl::Status Record(absl::StatusOr<DeliveryResult> written) {
    const bool refused =
        absl::IsResourceExhausted(written.status()) || absl::IsAlreadyExists(written.status());
    refusal = refused ? written.status() : absl::OkStatus();
    if (written.ok()) result = *written;
    return written.status();
  }

  void Answer(const absl::Status& status) {
    if (status.ok()) {
      std::move(done)(result);
    } else if (status == refusal) {
      std::move(done)(status);
    } else {
      std::move(done)(WithoutFullDisk(status));
    }
  }
};

class SqliteMailStore;

class SqliteStagedBody : public StagedBody {
 public:
  explicit SqliteStagedBody(SqliteMailStore* store) : store_(store) {}
  ~SqliteStagedBody() override;

  void Append(absl::string_view piece, absl::AnyInvocable<void(absl::Status)> done) override;
  void Deliver(Delivery delivery,
               absl::AnyInvocable<void(absl::StatusOr<DeliveryResult>)> done) override;

 private:
  SqliteMailStore* const store_;
  crypto::Sha256 hash_;
  uint64_t octets_ = 0;
  // 0 before the first piece and after the body is delivered.
  int64_t body_id_ = 0;
};

class SqliteMailStore : public MailStore {
 public:
  SqliteMailStore(std::unique_ptr<Sqlite> writer, std::unique_ptr<ReaderPool> readers,
                  const SqliteMailStoreOptions& options, process::Clock clock)
      : quota_{options.quota_messages, options.quota_octets},
        clock_(std::move(clock)),
        readers_(std::move(readers)),
        writer_(std::move(writer), {.max_waiting = options.max_waiting, .name = "mail"}) {}

  // Goes on with what an earlier process had begun.
  void FinishDeletions(std::vector<MailboxId> mailboxes);

  void Deliver(Delivery delivery, absl::string_view body,
               absl::AnyInvocable<void(absl::StatusOr<DeliveryResult>)> done) override;
  std::unique_ptr<StagedBody> StageBody(const MailboxId&) override {
    return std::make_unique<SqliteStagedBody>(this);
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
  // The lease is in this process's memory: the fence was compared before, and is pinned.
  void Delete(const MailboxId& mailbox, uint64_t fence, std::vector<uint64_t> uids,
              absl::AnyInvocable<void(absl::Status)> done) override;
  absl::StatusOr<MailboxUsage> Usage(const MailboxId& mailbox) override;
  absl::StatusOr<std::vector<MailboxUsage>> ListMailboxes(const std::optional<MailboxId>& after,
                                                          size_t limit) override;
  void SetQuota(const MailboxId& mailbox, const QuotaChange& change,
                absl::AnyInvocable<void(absl::Status)> done) override {
    writer_.Submit([mailbox, change, now = clock_()](
                       Sqlite& database) { return WriteQuota(database, mailbox, change, now); },
                   std::move(done));
  }
  void Purge(const MailboxId& mailbox,
             absl::AnyInvocable<void(absl::StatusOr<uint64_t>)> done) override {
    PurgeMore(mailbox, 0, std::move(done));
  }
  void ForgetDeliveries(absl::Time before, size_t limit,
                        absl::AnyInvocable<void(absl::StatusOr<size_t>)> done) override;
  absl::Status Check() override;

  // For SqliteStagedBody.
  GroupCommit& writer() { return writer_; }
  const Quota& quota() const { return quota_; }
  absl::Time now() const { return clock_(); }
  void Drop(int64_t body_id);

 private:
  void DeleteMore(const MailboxId& mailbox, absl::AnyInvocable<void(absl::Status)> done);
  void PurgeMore(const MailboxId& mailbox, uint64_t purged,
                 absl::AnyInvocable<void(absl::StatusOr<uint64_t>)> done);

  const Quota quota_;
  const process::Clock clock_;
  const std::unique_ptr<ReaderPool> readers_;

  absl::Mutex mutex_;
  // Staged bodies whose drop the writer refused.
  std::vector<int64_t> to_drop_ ABSL_GUARDED_BY(mutex_);
  // Where deletions go on later.
  std::vector<MailboxId> to_delete_ ABSL_GUARDED_BY(mutex_);

  // Last: its callbacks use the rest until it is gone.
  GroupCommit writer_;
};

SqliteStagedBody::~SqliteStagedBody() {
  if (body_id_ != 0) store_->Drop(body_id_);
}

void SqliteStagedBody::Append(absl::string_view piece,
                              absl::AnyInvocable<void(absl::Status)> done) {
  hash_.Update(piece);
  octets_ += piece.size();
  // The body's id is known when the first piece is durable.
  auto id = std::make_shared<int64_t>(body_id_);
  store_->writer().Submit(
      [compressed = storage::CompressPiece(piece), first = body_id_ == 0,
       id](Sqlite& database) -> absl::Status {
        if (first) {
          absl::StatusOr<int64_t> begun = storage::BeginBody(database);
          if (!begun.ok()) return begun.status();
          *id = *begun;
        }
        return storage::AppendPiece(database, *id, compressed);
      },
      [this, id, done = std::move(done)](absl::Status status) mutable {
        if (status.ok()) body_id_ = *id;
        std::move(done)(WithoutFullDisk(status));
      });
}

void SqliteStagedBody::Deliver(Delivery delivery,
                               absl::AnyInvocable<void(absl::StatusOr<DeliveryResult>)> done) {
  auto pending = std::make_shared<PendingDelivery>();
  pending->delivery = std::move(delivery);
  pending->sha256 = hash_.Finish();
  pending->digest = DeliveryDigest(pending->delivery, pending->sha256);
  pending->body_octets = octets_;
  pending->done = std::move(done);
  store_->writer().Submit(
      [this, pending](Sqlite& database) {
        return pending->Record(WriteDelivery(
            database, pending->delivery, pending->digest, pending->body_octets, store_->quota(),
            store_->now(), [&](Sqlite& connection, int references) -> absl::StatusOr<int64_t> {
              int64_t id = body_id_;
              if (id == 0) {
                absl::StatusOr<int64_t> begun = storage::BeginBody(connection);
                if (!begun.ok()) return begun;
                id = *begun;
              }
              return storage::FinishBody(connection, id, pending->sha256, references);
            }));
      },
      [this, pending](absl::Status status) {
        // A repetition left the new body as it was staged.
        if (status.ok() && !pending->result.repeated) body_id_ = 0;
        pending->Answer(status);
      });
}

void SqliteMailStore::Drop(int64_t body_id) {
  writer_.Submit([body_id](Sqlite& database) { return storage::DropBody(database, body_id); },
                 [this, body_id](absl::Status status) {
                   if (status.ok()) return;
                   absl::MutexLock lock(&mutex_);
                   to_drop_.push_back(body_id);
                 });
}

void SqliteMailStore::Deliver(Delivery delivery, absl::string_view body,
                              absl::AnyInvocable<void(absl::StatusOr<DeliveryResult>)> done) {
  // Hashing and compressing here keeps the one writer thread for what only it can do.
  auto pending = std::make_shared<PendingDelivery>();
  pending->delivery = std::move(delivery);
  pending->sha256 = crypto::Sha256Of(body);
  pending->digest = DeliveryDigest(pending->delivery, pending->sha256);
  pending->piece = storage::CompressPiece(body);
  pending->body_octets = body.size();
  pending->done = std::move(done);
  writer_.Submit(
      [this, pending](Sqlite& database) {
        return pending->Record(WriteDelivery(
            database, pending->delivery, pending->digest, pending->body_octets, quota_, clock_(),
            [&](Sqlite& connection, int references) {
              return storage::AddBody(connection, pending->sha256, pending->piece, references);
            }));
      },
      [pending](absl::Status status) { pending->Answer(status); });
}

absl::StatusOr<std::vector<MailboxId>> SqliteMailStore::FindFull(absl::Span<const MailboxId> ids) {
  ReaderPool::Lent reader(*readers_);
  std::vector<Room> rooms;
  for (const MailboxId& id : ids) {
    absl::StatusOr<Room> room = ReadRoom(*reader, id, quota_);
    if (!room.ok()) return room.status();
    rooms.push_back(*room);
  }
  return WhoIsFull(ids, rooms);
}

absl::StatusOr<ListingStart> SqliteMailStore::StartListing(const MailboxId& mailbox, size_t limit) {
  ReaderPool::Lent reader(*readers_);
  return ReadListingStart(*reader, mailbox, limit);
}

absl::StatusOr<std::vector<MessageEntry>> SqliteMailStore::List(const MailboxId& mailbox,
                                                                uint64_t after_uid,
                                                                uint64_t before_uid, size_t limit) {
  ReaderPool::Lent reader(*readers_);
  return ReadEntries(*reader, mailbox, after_uid, before_uid, limit);
}

absl::StatusOr<StoredMessage> SqliteMailStore::Read(const MailboxId& mailbox, uint64_t uid) {
  ReaderPool::Lent reader(*readers_);
  return ReadMessage(*reader, mailbox, uid);
}

absl::StatusOr<WholeMessages> SqliteMailStore::ReadWhole(const MailboxId& mailbox, uint64_t uid,
                                                         uint64_t before_uid, size_t limit,
                                                         uint64_t max_octets) {
  ReaderPool::Lent reader(*readers_);
  return ReadWholeMessages(*reader, mailbox, uid, before_uid, limit, max_octets);
}

absl::StatusOr<std::string> SqliteMailStore::ReadPiece(absl::string_view body, int64_t index) {
  int64_t body_id = 0;
  if (!absl::SimpleAtoi(body, &body_id)) return absl::NotFoundError("no such body");
  ReaderPool::Lent reader(*readers_);
  return storage::ReadPiece(*reader, body_id, index);
}

void SqliteMailStore::Delete(const MailboxId& mailbox, uint64_t, std::vector<uint64_t> uids,
                             absl::AnyInvocable<void(absl::Status)> done) {
  if (uids.size() <= kDeletionBatch) {
    writer_.Submit([mailbox, uids = std::move(uids)](
                       Sqlite& database) { return DeleteMessages(database, mailbox, uids); },
                   std::move(done));
    return;
  }
  writer_.Submit([mailbox, uids = std::move(uids)](
                     Sqlite& database) { return BeginDeletion(database, mailbox, uids); },
                 [this, mailbox, done = std::move(done)](absl::Status status) mutable {
                   if (status.ok()) {
                     DeleteMore(mailbox, std::move(done));
                   } else {
                     std::move(done)(status);
                   }
                 });
}

void SqliteMailStore::DeleteMore(const MailboxId& mailbox,
                                 absl::AnyInvocable<void(absl::Status)> done) {
  auto more = std::make_shared<bool>(false);
  writer_.Submit(
      [mailbox, more](Sqlite& database) {
        absl::StatusOr<bool> continued = ContinueDeletion(database, mailbox, kDeletionBatch);
        if (continued.ok()) *more = *continued;
        return continued.status();
      },
      [this, mailbox, more, done = std::move(done)](absl::Status status) mutable {
        if (status.ok() && *more) {
          DeleteMore(mailbox, std::move(done));
          return;
        }
        if (!status.ok()) {
          absl::MutexLock lock(&mutex_);
          to_delete_.push_back(mailbox);
        }
        std::move(done)(status);
      });
}

void SqliteMailStore::FinishDeletions(std::vector<MailboxId> mailboxes) {
  for (const MailboxId& mailbox : mailboxes) DeleteMore(mailbox, [](const absl::Status&) {});
}

absl::StatusOr<MailboxUsage> SqliteMailStore::Usage(const MailboxId& mailbox) {
  ReaderPool::Lent reader(*readers_);
  return ReadUsage(*reader, mailbox, quota_);
}

absl::StatusOr<std::vector<MailboxUsage>> SqliteMailStore::ListMailboxes(
    const std::optional<MailboxId>& after, size_t limit) {
  ReaderPool::Lent reader(*readers_);
  return ReadUsages(*reader, after, limit, quota_);
}

void SqliteMailStore::PurgeMore(const MailboxId& mailbox, uint64_t purged,
                                absl::AnyInvocable<void(absl::StatusOr<uint64_t>)> done) {
  auto deleted = std::make_shared<uint64_t>(0);
  writer_.Submit(
      [mailbox, deleted](Sqlite& database) {
        absl::StatusOr<uint64_t> some = DeleteSome(database, mailbox, kDeletionBatch);
        if (some.ok()) *deleted = *some;
        return some.status();
      },
      [this, mailbox, purged, deleted, done = std::move(done)](absl::Status status) mutable {
        if (!status.ok()) {
          std::move(done)(status);
        } else if (*deleted == 0) {
          std::move(done)(purged);
        } else {
          PurgeMore(mailbox, purged + *deleted, std::move(done));
        }
      });
}

void SqliteMailStore::ForgetDeliveries(absl::Time before, size_t limit,
                                       absl::AnyInvocable<void(absl::StatusOr<size_t>)> done) {
  std::vector<int64_t> to_drop;
  std::vector<MailboxId> to_delete;
  {
    absl::MutexLock lock(&mutex_);
    to_drop.swap(to_drop_);
    to_delete.swap(to_delete_);
  }
  for (const int64_t body_id : to_drop) Drop(body_id);
  FinishDeletions(std::move(to_delete));
  auto forgotten = std::make_shared<size_t>(0);
  writer_.Submit(
      [before, limit, forgotten](Sqlite& database) {
        absl::StatusOr<size_t> some = ForgetSomeDeliveries(database, before, limit);
        if (some.ok()) *forgotten = *some;
        return some.status();
      },
      [forgotten, done = std::move(done)](absl::Status status) mutable {
        if (status.ok()) {
          std::move(done)(*forgotten);
        } else {
          std::move(done)(status);
        }
      });
}

absl::Status SqliteMailStore::Check() {
  ReaderPool::Lent reader(*readers_);
  absl::StatusOr<Statement*> query = reader->Prepare("SELECT epoch FROM lease_epoch");
  if (!query.ok()) return query.status();
  return (*query)->Run();
}

}  // namespace

absl::Span<const storage::Migration> SqliteMailMigrations() {
  static const storage::Migration kMigrations[] = {{1, storage::BodySchema()},
                                                   {2, sql::k0001Initial},
                                                   {3, storage::BodyIdsNeverRepeat()},
                                                   {4, sql::k0002Deletion}};
  return kMigrations;
}

absl::StatusOr<OpenedMailStore> OpenSqliteMailStore(const SqliteMailStoreOptions& options,
                                                    process::Clock clock) {
  absl::StatusOr<std::unique_ptr<Sqlite>> writer =
      Sqlite::Open(options.file, Sqlite::Mode::kReadWrite);
  if (!writer.ok()) return writer.status();
  if (absl::Status status = storage::Migrate(**writer, SqliteMailMigrations()); !status.ok()) {
    return status;
  }
  if (absl::Status status = storage::DropUnfinishedBodies(**writer); !status.ok()) return status;
  absl::StatusOr<uint64_t> epoch = NextLeaseEpoch(**writer);
  if (!epoch.ok()) return epoch.status();
  absl::StatusOr<std::unique_ptr<ReaderPool>> readers =
      ReaderPool::Open(options.file, options.readers);
  if (!readers.ok()) return readers.status();
  absl::StatusOr<std::vector<MailboxId>> unfinished = UnfinishedDeletions(**writer);
  if (!unfinished.ok()) return unfinished.status();
  auto store = std::make_unique<SqliteMailStore>(*std::move(writer), *std::move(readers), options,
                                                 std::move(clock));
  store->FinishDeletions(*std::move(unfinished));
  return OpenedMailStore{std::move(store), *epoch};
}

}  // namespace postern::store
