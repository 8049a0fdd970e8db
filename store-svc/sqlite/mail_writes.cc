#include "store-svc/sqlite/mail_writes.h"

#include <vector>

#include "services/storage/body/body_store.h"
#include "store-svc/domain/delivery_rules.h"
#include "store-svc/sqlite/mail_reads.h"

namespace postern::store {
namespace {

using storage::Sqlite;
using storage::Statement;
using storage::Use;

// True: committed before with this digest. ALREADY_EXISTS: with another.
absl::StatusOr<bool> IsRepeated(Sqlite& database, absl::string_view delivery_id,
                                absl::string_view digest) {
  absl::StatusOr<Statement*> query =
      database.Prepare("SELECT digest FROM delivery WHERE delivery_id = ?");
  if (!query.ok()) return query.status();
  Use use(*query);
  use->BindBlob(1, delivery_id);
  absl::StatusOr<bool> row = use->Step();
  if (!row.ok() || !*row) return row;
  if (use->Blob(0) != digest) return OtherContents();
  return true;
}

// Counts the message in the mailbox, which comes into being with its first, and gives its uid.
absl::StatusOr<int64_t> CountIn(Sqlite& database, const MailboxId& mailbox, int64_t octets,
                                absl::Time now) {
  absl::StatusOr<Statement*> upsert = database.Prepare(
      "INSERT INTO mailbox (mailbox_id, uid_validity, uid_next, messages, octets) "
      "VALUES (?1, ?2, 2, 1, ?3) ON CONFLICT DO UPDATE SET "
      "uid_next = uid_next + 1, messages = messages + 1, octets = octets + ?3 "
      "RETURNING uid_next - 1");
  if (!upsert.ok()) return upsert.status();
  Use use(*upsert);
  use->BindBlob(1, mailbox.octets()).Bind(2, absl::ToUnixSeconds(now)).Bind(3, octets);
  absl::StatusOr<bool> row = use->Step();
  if (!row.ok()) return row.status();
  return use->Int(0);
}

absl::Status InsertMessage(Sqlite& database, const Recipient& recipient, int64_t uid,
                           int64_t body_id, int64_t octets) {
  absl::StatusOr<Statement*> insert = database.Prepare(
      "INSERT INTO message (mailbox_id, uid, body_id, octets, prefix) VALUES (?, ?, ?, ?, ?)");
  if (!insert.ok()) return insert.status();
  return (*insert)
      ->BindBlob(1, recipient.mailbox.octets())
      .Bind(2, uid)
      .Bind(3, body_id)
      .Bind(4, octets)
      .BindBlob(5, recipient.prefix)
      .Run();
}

absl::Status RememberDelivery(Sqlite& database, absl::string_view delivery_id,
                              absl::string_view digest, absl::Time now) {
  absl::StatusOr<Statement*> insert =
      database.Prepare("INSERT INTO delivery (delivery_id, digest, committed_at) VALUES (?, ?, ?)");
  if (!insert.ok()) return insert.status();
  return (*insert)
      ->BindBlob(1, delivery_id)
      .BindBlob(2, digest)
      .Bind(3, absl::ToUnixSeconds(now))
      .Run();
}

// What left a mailbox.
struct Removed {
  int64_t messages = 0;
  int64_t octets = 0;
};

// Runs a DELETE ... RETURNING body_id, octets, and lets the bodies go.
absl::Status DeleteAndRelease(Sqlite& database, Statement* statement, Removed* removed) {
  Use deletion(statement);
  for (;;) {
    absl::StatusOr<bool> row = deletion->Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::OkStatus();
    ++removed->messages;
    removed->octets += deletion->Int(1);
    if (absl::Status status = storage::ReleaseBody(database, deletion->Int(0), 1); !status.ok()) {
      return status;
    }
  }
}

absl::Status CountOut(Sqlite& database, const MailboxId& mailbox, const Removed& removed) {
  if (removed.messages == 0) return absl::OkStatus();
  absl::StatusOr<Statement*> update = database.Prepare(
      "UPDATE mailbox SET messages = messages - ?, octets = octets - ? WHERE mailbox_id = ?");
  if (!update.ok()) return update.status();
  return (*update)
      ->Bind(1, removed.messages)
      .Bind(2, removed.octets)
      .BindBlob(3, mailbox.octets())
      .Run();
}

absl::Status CheckRoom(Sqlite& database, const Delivery& delivery, const Quota& default_quota) {
  std::vector<Room> rooms;
  rooms.reserve(delivery.recipients.size());
  for (const Recipient& recipient : delivery.recipients) {
    absl::StatusOr<Room> room = ReadRoom(database, recipient.mailbox, default_quota);
    if (!room.ok()) return room.status();
    rooms.push_back(*room);
  }
  return store::CheckRoom(delivery, rooms);
}

}  // namespace

absl::StatusOr<DeliveryResult> WriteDelivery(Sqlite& database, const Delivery& delivery,
                                             absl::string_view digest, uint64_t body_octets,
                                             const Quota& default_quota, absl::Time now,
                                             PlaceBody place_body) {
  absl::StatusOr<bool> repeated = IsRepeated(database, delivery.delivery_id, digest);
  if (!repeated.ok()) return repeated.status();
  if (*repeated) return DeliveryResult{.repeated = true};
  if (absl::Status status = CheckRoom(database, delivery, default_quota); !status.ok()) {
    return status;
  }
  absl::StatusOr<int64_t> body_id =
      place_body(database, static_cast<int>(delivery.recipients.size()));
  if (!body_id.ok()) return body_id.status();
  for (const Recipient& recipient : delivery.recipients) {
    const int64_t octets = static_cast<int64_t>(recipient.prefix.size() + body_octets);
    absl::StatusOr<int64_t> uid = CountIn(database, recipient.mailbox, octets, now);
    if (!uid.ok()) return uid.status();
    if (absl::Status status = InsertMessage(database, recipient, *uid, *body_id, octets);
        !status.ok()) {
      return status;
    }
  }
  if (absl::Status status = RememberDelivery(database, delivery.delivery_id, digest, now);
      !status.ok()) {
    return status;
  }
  return DeliveryResult{};
}

absl::Status DeleteMessages(Sqlite& database, const MailboxId& mailbox,
                            const std::vector<uint64_t>& uids) {
  Removed removed;
  for (const uint64_t uid : uids) {
    absl::StatusOr<Statement*> deletion = database.Prepare(
        "DELETE FROM message WHERE mailbox_id = ? AND uid = ? RETURNING body_id, octets");
    if (!deletion.ok()) return deletion.status();
    (*deletion)->BindBlob(1, mailbox.octets()).Bind(2, static_cast<int64_t>(uid));
    if (absl::Status status = DeleteAndRelease(database, *deletion, &removed); !status.ok()) {
      return status;
    }
  }
  return CountOut(database, mailbox, removed);
}

absl::Status BeginDeletion(Sqlite& database, const MailboxId& mailbox,
                           const std::vector<uint64_t>& uids) {
  absl::StatusOr<Statement*> insertion =
      database.Prepare("INSERT OR IGNORE INTO deletion (mailbox_id, uid) VALUES (?, ?)");
  if (!insertion.ok()) return insertion.status();
  for (const uint64_t uid : uids) {
    (*insertion)->BindBlob(1, mailbox.octets()).Bind(2, static_cast<int64_t>(uid));
    if (absl::Status status = (*insertion)->Run(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> ContinueDeletion(Sqlite& database, const MailboxId& mailbox, size_t limit) {
  std::vector<uint64_t> uids;
  {
    absl::StatusOr<Statement*> deletion = database.Prepare(
        "DELETE FROM deletion WHERE mailbox_id = ?1 AND uid IN "
        "(SELECT uid FROM deletion WHERE mailbox_id = ?1 ORDER BY uid LIMIT ?2) RETURNING uid");
    if (!deletion.ok()) return deletion.status();
    Use use(*deletion);
    use->BindBlob(1, mailbox.octets()).Bind(2, static_cast<int64_t>(limit));
    for (;;) {
      absl::StatusOr<bool> row = use->Step();
      if (!row.ok()) return row.status();
      if (!*row) break;
      uids.push_back(static_cast<uint64_t>(use->Int(0)));
    }
  }
  if (absl::Status status = DeleteMessages(database, mailbox, uids); !status.ok()) return status;
  return uids.size() == limit;
}

absl::StatusOr<std::vector<MailboxId>> UnfinishedDeletions(Sqlite& database) {
  absl::StatusOr<Statement*> query = database.Prepare("SELECT DISTINCT mailbox_id FROM deletion");
  if (!query.ok()) return query.status();
  Use use(*query);
  std::vector<MailboxId> mailboxes;
  for (;;) {
    absl::StatusOr<bool> row = use->Step();
    if (!row.ok()) return row.status();
    if (!*row) return mailboxes;
    mailboxes.push_back(MailboxId::FromOctets(use->Blob(0)));
  }
}

absl::StatusOr<uint64_t> DeleteSome(Sqlite& database, const MailboxId& mailbox, size_t limit) {
  absl::StatusOr<Statement*> deletion = database.Prepare(
      "DELETE FROM message WHERE mailbox_id = ?1 AND uid IN "
      "(SELECT uid FROM message WHERE mailbox_id = ?1 ORDER BY uid LIMIT ?2) "
      "RETURNING body_id, octets");
  if (!deletion.ok()) return deletion.status();
  (*deletion)->BindBlob(1, mailbox.octets()).Bind(2, static_cast<int64_t>(limit));
  Removed removed;
  if (absl::Status status = DeleteAndRelease(database, *deletion, &removed); !status.ok()) {
    return status;
  }
  if (absl::Status status = CountOut(database, mailbox, removed); !status.ok()) return status;
  return static_cast<uint64_t>(removed.messages);
}

absl::Status WriteQuota(Sqlite& database, const MailboxId& mailbox, const QuotaChange& change,
                        absl::Time now) {
  // -1: stays. An absent row has none that could.
  absl::StatusOr<Statement*> upsert = database.Prepare(
      "INSERT INTO mailbox (mailbox_id, uid_validity, uid_next, messages, octets, quota_messages, "
      "quota_octets) VALUES (?1, ?2, 1, 0, 0, nullif(max(?3, 0), 0), nullif(max(?4, 0), 0)) "
      "ON CONFLICT DO UPDATE SET "
      "quota_messages = CASE ?3 WHEN -1 THEN quota_messages ELSE excluded.quota_messages END, "
      "quota_octets = CASE ?4 WHEN -1 THEN quota_octets ELSE excluded.quota_octets END");
  if (!upsert.ok()) return upsert.status();
  const auto number = [](const std::optional<uint64_t>& quota) {
    return quota.has_value() ? static_cast<int64_t>(*quota) : -1;
  };
  return (*upsert)
      ->BindBlob(1, mailbox.octets())
      .Bind(2, absl::ToUnixSeconds(now))
      .Bind(3, number(change.messages))
      .Bind(4, number(change.octets))
      .Run();
}

absl::StatusOr<size_t> ForgetSomeDeliveries(Sqlite& database, absl::Time before, size_t limit) {
  // The oldest rows are the first; only they are looked at, so that a pass costs what it deletes.
  absl::StatusOr<Statement*> deletion = database.Prepare(
      "DELETE FROM delivery WHERE sequence IN "
      "(SELECT sequence FROM delivery ORDER BY sequence LIMIT ?1) AND committed_at < ?2");
  if (!deletion.ok()) return deletion.status();
  if (absl::Status status = (*deletion)
                                ->Bind(1, static_cast<int64_t>(limit))
                                .Bind(2, absl::ToUnixSeconds(before))
                                .Run();
      !status.ok()) {
    return status;
  }
  return static_cast<size_t>(database.Changes());
}

absl::StatusOr<uint64_t> NextLeaseEpoch(Sqlite& database) {
  absl::StatusOr<Statement*> update =
      database.Prepare("UPDATE lease_epoch SET epoch = epoch + 1 RETURNING epoch");
  if (!update.ok()) return update.status();
  Use use(*update);
  absl::StatusOr<bool> row = use->Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::InternalError("the database has no lease epoch");
  const uint64_t epoch = static_cast<uint64_t>(use->Int(0));
  // In autocommit mode the update is committed by the step that ends the statement.
  if (absl::StatusOr<bool> end = use->Step(); !end.ok()) return end.status();
  return epoch;
}

}  // namespace postern::store
