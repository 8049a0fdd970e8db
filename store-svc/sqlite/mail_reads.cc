#include "store-svc/sqlite/mail_reads.h"

#include <utility>

#include "services/storage/body/body_store.h"

namespace postern::store {
namespace {

using storage::Sqlite;
using storage::Statement;
using storage::Use;

// One snapshot for several queries. Never longer than a page: the WAL grows while it lasts.
class Snapshot {
 public:
  explicit Snapshot(Sqlite& database) : database_(database), status_(RunSql("BEGIN")) {}
  ~Snapshot() {
    if (status_.ok()) RunSql("COMMIT").IgnoreError();
  }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status RunSql(absl::string_view sql) {
    absl::StatusOr<Statement*> statement = database_.Prepare(sql);
    return statement.ok() ? (*statement)->Run() : statement.status();
  }

  Sqlite& database_;
  const absl::Status status_;
};

MailboxUsage UsageOf(const Use& row) {
  return {MailboxId::FromOctets(row->Blob(0)), static_cast<uint64_t>(row->Int(1)),
          static_cast<uint64_t>(row->Int(2)), static_cast<uint64_t>(row->Int(3)),
          static_cast<uint64_t>(row->Int(4))};
}

}  // namespace

absl::StatusOr<Room> ReadRoom(Sqlite& database, const MailboxId& mailbox, const Quota& quota) {
  absl::StatusOr<Statement*> query = database.Prepare(
      "SELECT messages / 2 >= ifnull(quota_messages, ?2) OR octets / 2 >= ifnull(quota_octets, ?3) "
      "FROM mailbox WHERE mailbox_id = ?1 AND "
      "(messages >= ifnull(quota_messages, ?2) OR octets >= ifnull(quota_octets, ?3))");
  if (!query.ok()) return query.status();
  Use use(*query);
  use->BindBlob(1, mailbox.octets())
      .Bind(2, static_cast<int64_t>(quota.messages))
      .Bind(3, static_cast<int64_t>(quota.octets));
  absl::StatusOr<bool> row = use->Step();
  if (!row.ok()) return row.status();
  if (!*row) return Room::kFree;
  return use->Int(0) != 0 ? Room::kTwiceFull : Room::kFull;
}

absl::StatusOr<ListingStart> ReadListingStart(Sqlite& database, const MailboxId& mailbox,
                                              size_t limit) {
  // The counts and the first page, which is nearly always the whole, must agree.
  Snapshot snapshot(database);
  if (!snapshot.status().ok()) return snapshot.status();
  absl::StatusOr<Statement*> query = database.Prepare(
      "SELECT uid_validity, uid_next, messages, octets FROM mailbox WHERE mailbox_id = ?");
  if (!query.ok()) return query.status();
  ListingStart start;
  {
    Use use(*query);
    use->BindBlob(1, mailbox.octets());
    absl::StatusOr<bool> row = use->Step();
    if (!row.ok()) return row.status();
    if (!*row) return start;
    start.uid_validity = static_cast<uint32_t>(use->Int(0));
    start.uid_next = static_cast<uint64_t>(use->Int(1));
    start.messages = static_cast<uint64_t>(use->Int(2));
    start.octets = static_cast<uint64_t>(use->Int(3));
  }
  absl::StatusOr<std::vector<MessageEntry>> page =
      ReadEntries(database, mailbox, 0, start.uid_next, limit);
  if (!page.ok()) return page.status();
  start.first_page = *std::move(page);
  return start;
}

absl::StatusOr<std::vector<MessageEntry>> ReadEntries(Sqlite& database, const MailboxId& mailbox,
                                                      uint64_t after_uid, uint64_t before_uid,
                                                      size_t limit) {
  absl::StatusOr<Statement*> query = database.Prepare(
      "SELECT uid, octets FROM message WHERE mailbox_id = ? AND uid > ? AND uid < ? "
      "ORDER BY uid LIMIT ?");
  if (!query.ok()) return query.status();
  Use use(*query);
  use->BindBlob(1, mailbox.octets())
      .Bind(2, static_cast<int64_t>(after_uid))
      .Bind(3, static_cast<int64_t>(before_uid))
      .Bind(4, static_cast<int64_t>(limit));
  std::vector<MessageEntry> entries;
  for (;;) {
    absl::StatusOr<bool> row = use->Step();
    if (!row.ok()) return row.status();
    if (!*row) return entries;
    entries.push_back({static_cast<uint64_t>(use->Int(0)), static_cast<uint64_t>(use->Int(1))});
  }
}

absl::StatusOr<StoredMessage> ReadMessage(Sqlite& database, const MailboxId& mailbox,
                                          uint64_t uid) {
  Snapshot snapshot(database);
  if (!snapshot.status().ok()) return snapshot.status();
  absl::StatusOr<Statement*> query = database.Prepare(
      "SELECT prefix, octets, body_id FROM message WHERE mailbox_id = ? AND uid = ?");
  if (!query.ok()) return query.status();
  StoredMessage message;
  {
    Use use(*query);
    use->BindBlob(1, mailbox.octets()).Bind(2, static_cast<int64_t>(uid));
    absl::StatusOr<bool> row = use->Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::NotFoundError("no such message");
    message.prefix = std::string(use->Blob(0));
    message.octets = static_cast<uint64_t>(use->Int(1));
    message.body_id = use->Int(2);
  }
  absl::StatusOr<std::string> piece = storage::ReadPiece(database, message.body_id, 0);
  if (piece.ok()) {
    message.first_piece = *std::move(piece);
  } else if (!absl::IsNotFound(piece.status()) || message.octets > message.prefix.size()) {
    return absl::IsNotFound(piece.status()) ? absl::DataLossError("a message has no body")
                                            : piece.status();
  }
  return message;
}

absl::StatusOr<MailboxUsage> ReadUsage(Sqlite& database, const MailboxId& mailbox,
                                       const Quota& quota) {
  absl::StatusOr<Statement*> query = database.Prepare(
      "SELECT mailbox_id, messages, octets, ifnull(quota_messages, ?), ifnull(quota_octets, ?) "
      "FROM mailbox WHERE mailbox_id = ?");
  if (!query.ok()) return query.status();
  Use use(*query);
  use->Bind(1, static_cast<int64_t>(quota.messages))
      .Bind(2, static_cast<int64_t>(quota.octets))
      .BindBlob(3, mailbox.octets());
  absl::StatusOr<bool> row = use->Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::NotFoundError("the mailbox never had a message");
  return UsageOf(use);
}

absl::StatusOr<std::vector<MailboxUsage>> ReadUsages(Sqlite& database,
                                                     const std::optional<MailboxId>& after,
                                                     size_t limit, const Quota& quota) {
  // An empty blob is before every id.
  absl::StatusOr<Statement*> query = database.Prepare(
      "SELECT mailbox_id, messages, octets, ifnull(quota_messages, ?), ifnull(quota_octets, ?) "
      "FROM mailbox WHERE mailbox_id > ? ORDER BY mailbox_id LIMIT ?");
  if (!query.ok()) return query.status();
  Use use(*query);
  use->Bind(1, static_cast<int64_t>(quota.messages))
      .Bind(2, static_cast<int64_t>(quota.octets))
      .BindBlob(3, after.has_value() ? after->octets() : absl::string_view())
      .Bind(4, static_cast<int64_t>(limit));
  std::vector<MailboxUsage> usages;
  for (;;) {
    absl::StatusOr<bool> row = use->Step();
    if (!row.ok()) return row.status();
    if (!*row) return usages;
    usages.push_back(UsageOf(use));
  }
}

}  // namespace postern::store
