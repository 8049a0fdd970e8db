#include "store-svc/sqlite/mail_reads.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/storage/body/body_store.h"
#include "store-svc/domain/delivery_rules.h"

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

// Appends the body, which has this many octets, piece by piece.
absl::Status AppendBody(Sqlite& database, int64_t body_id, uint64_t octets, std::string* to) {
  const uint64_t end = to->size() + octets;
  for (int64_t index = 0; to->size() < end; ++index) {
    absl::StatusOr<std::string> piece = storage::ReadPiece(database, body_id, index);
    if (absl::IsNotFound(piece.status())) return absl::DataLossError("a message lacks its body");
    if (!piece.ok()) return piece.status();
    to->append(*piece);
  }
  if (to->size() > end) return absl::DataLossError("a message is longer than its entry says");
  return absl::OkStatus();
}

MailboxUsage UsageOf(const Use& row) {
  return {MailboxId::FromOctets(row->Blob(0)), static_cast<uint64_t>(row->Int(1)),
          static_cast<uint64_t>(row->Int(2)), static_cast<uint64_t>(row->Int(3)),
          static_cast<uint64_t>(row->Int(4))};
}

}  // namespace

absl::StatusOr<Room> ReadRoom(Sqlite& database, const MailboxId& mailbox, const Quota& quota) {
  absl::StatusOr<MailboxUsage> usage = ReadUsage(database, mailbox, quota);
  if (absl::IsNotFound(usage.status())) return Room::kFree;
  if (!usage.ok()) return usage.status();
  return RoomOf(*usage);
}

absl::StatusOr<ListingStart> ReadListingStart(Sqlite& database, const MailboxId& mailbox,
                                              size_t limit) {
  // The counts and the first page, which is nearly always the whole, must agree.
  Snapshot snapshot(database);
  if (!snapshot.status().ok()) return snapshot.status();
  absl::StatusOr<Statement*> query = database.Prepare(
      "SELECT uid_validity, uid_next, messages, octets, "
      "EXISTS (SELECT 1 FROM deletion WHERE mailbox_id = ?1) FROM mailbox WHERE mailbox_id = ?1");
  if (!query.ok()) return query.status();
  ListingStart start;
  {
    Use use(*query);
    use->BindBlob(1, mailbox.octets());
    absl::StatusOr<bool> row = use->Step();
    if (!row.ok()) return row.status();
    if (!*row) return start;
    if (use->Int(4) != 0) {
      return absl::UnavailableError("what the last session deleted is not all gone yet");
    }
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
  int64_t body_id = 0;
  {
    Use use(*query);
    use->BindBlob(1, mailbox.octets()).Bind(2, static_cast<int64_t>(uid));
    absl::StatusOr<bool> row = use->Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::NotFoundError("no such message");
    message.prefix = std::string(use->Blob(0));
    message.octets = static_cast<uint64_t>(use->Int(1));
    body_id = use->Int(2);
    message.body = absl::StrCat(body_id);
  }
  absl::StatusOr<std::string> piece = storage::ReadPiece(database, body_id, 0);
  if (piece.ok()) {
    message.first_piece = *std::move(piece);
  } else if (!absl::IsNotFound(piece.status()) || message.octets > message.prefix.size()) {
    return absl::IsNotFound(piece.status()) ? absl::DataLossError("a message has no body")
                                            : piece.status();
  }
  return message;
}

absl::StatusOr<WholeMessages> ReadWholeMessages(Sqlite& database, const MailboxId& mailbox,
                                                uint64_t uid, uint64_t before_uid, size_t limit,
                                                uint64_t max_octets) {
  Snapshot snapshot(database);
  if (!snapshot.status().ok()) return snapshot.status();
  absl::StatusOr<Statement*> query = database.Prepare(
      "SELECT uid, octets, prefix, body_id FROM message "
      "WHERE mailbox_id = ? AND uid >= ? AND uid < ? ORDER BY uid");
  if (!query.ok()) return query.status();
  Use use(*query);
  use->BindBlob(1, mailbox.octets())
      .Bind(2, static_cast<int64_t>(uid))
      .Bind(3, static_cast<int64_t>(before_uid));
  WholeMessages whole;
  uint64_t total = 0;
  for (;;) {
    absl::StatusOr<bool> row = use->Step();
    if (!row.ok()) return row.status();
    const bool first = whole.messages.empty();
    const uint64_t found = *row ? static_cast<uint64_t>(use->Int(0)) : 0;
    if (first && found != uid) return absl::NotFoundError("no such message");
    if (!*row) return whole;
    const uint64_t octets = static_cast<uint64_t>(use->Int(1));
    total += octets;
    if (first && total > max_octets) return absl::OutOfRangeError("the message has more octets");
    whole.next_uid = found;
    if (whole.messages.size() == limit || total > max_octets) return whole;
    WholeMessages::Message message{found, std::string(use->Blob(2))};
    message.octets.reserve(octets);
    const absl::Status body =
        octets < message.octets.size()
            ? absl::DataLossError("a message is longer than its entry says")
            : AppendBody(database, use->Int(3), octets - message.octets.size(), &message.octets);
    // One that can't be read fails for itself, when it is asked for.
    if (!body.ok() && !first) return whole;
    if (!body.ok()) return body;
    whole.next_uid = 0;
    whole.messages.push_back(std::move(message));
  }
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
  if (!*row) return absl::NotFoundError("the mailbox never had a message nor a quota of its own");
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
