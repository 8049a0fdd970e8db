#include "relay-svc/sqlite/spool_rows.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "relay-svc/domain/spool_rules.h"
#include "services/storage/body/body_store.h"

namespace postern::relay {
namespace {

using storage::Sqlite;
using storage::Statement;

constexpr int64_t kStateWaiting = 0;
constexpr int64_t kStateDelivered = 1;
constexpr int64_t kStateFailed = 2;

// A statement in use; a SELECT that is not reset would keep its snapshot of the database.
class Query {
 public:
  Query(Sqlite& database, absl::string_view sql) : statement_(database.Prepare(sql)) {}
  ~Query() {
    if (statement_.ok()) (*statement_)->Reset();
  }
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  const absl::Status& status() const { return statement_.status(); }
  Statement* operator->() { return *statement_; }

 private:
  absl::StatusOr<Statement*> statement_;
};

std::string Text(absl::string_view view) { return std::string(view.data(), view.size()); }

struct MessageRow {
  int64_t id = 0;
  int64_t body_id = 0;
};

absl::StatusOr<std::optional<MessageRow>> FindMessage(Sqlite& database,
                                                      absl::string_view queue_id) {
  Query query(database, "SELECT id, body_id FROM message WHERE queue_id = ?");
  if (!query.status().ok()) return query.status();
  query->BindText(1, queue_id);
  absl::StatusOr<bool> row = query->Step();
  if (!row.ok()) return row.status();
  if (!*row) return std::nullopt;
  return MessageRow{query->Int(0), query->Int(1)};
}

absl::Status RemoveMessage(Sqlite& database, const MessageRow& message) {
  {
    Query query(database, "DELETE FROM recipient WHERE message_id = ?");
    if (!query.status().ok()) return query.status();
    query->Bind(1, message.id);
    if (absl::Status status = query->Run(); !status.ok()) return status;
  }
  {
    Query query(database, "DELETE FROM message WHERE id = ?");
    if (!query.status().ok()) return query.status();
    query->Bind(1, message.id);
    if (absl::Status status = query->Run(); !status.ok()) return status;
  }
  return storage::ReleaseBody(database, message.body_id, 1);
}

absl::StatusOr<std::vector<QueueEntry::Recipient>> SelectRecipients(Sqlite& database,
                                                                    int64_t message_id) {
  Query query(database,
              "SELECT address, state, attempts, next_attempt_at, last_result FROM recipient "
              "WHERE message_id = ? ORDER BY id");
  if (!query.status().ok()) return query.status();
  query->Bind(1, message_id);
  std::vector<QueueEntry::Recipient> recipients;
  while (true) {
    absl::StatusOr<bool> row = query->Step();
    if (!row.ok()) return row.status();
    if (!*row) return recipients;
    QueueEntry::Recipient& recipient = recipients.emplace_back();
    recipient.address = Text(query->Text(0));
    recipient.state = query->Int(1) == kStateDelivered ? QueueEntry::State::kDelivered
                      : query->Int(1) == kStateFailed  ? QueueEntry::State::kFailed
                                                       : QueueEntry::State::kWaiting;
    recipient.attempts = static_cast<int>(query->Int(2));
    recipient.next_attempt_at = absl::FromUnixMicros(query->Int(3));
    recipient.last_result = Text(query->Text(4));
  }
}

// Columns 0 to 7: id, queue_id, sender, octets, enqueued_at, smtputf8, eight_bit, trace_id.
SpooledMessage ReadMessage(Query& query) {
  SpooledMessage message;
  message.queue_id = Text(query->Text(1));
  message.sender = Text(query->Text(2));
  message.octets = static_cast<uint64_t>(query->Int(3));
  message.enqueued_at = absl::FromUnixMicros(query->Int(4));
  message.smtputf8 = query->Int(5) != 0;
  message.eight_bit = query->Int(6) != 0;
  message.trace_id = Text(query->Text(7));
  return message;
}

}  // namespace

absl::StatusOr<std::optional<EarlierDelivery>> FindDelivery(Sqlite& database,
                                                            absl::string_view delivery_id) {
  Query query(database, "SELECT queue_id, digest FROM delivery WHERE delivery_id = ?");
  if (!query.status().ok()) return query.status();
  query->BindBlob(1, delivery_id);
  absl::StatusOr<bool> row = query->Step();
  if (!row.ok()) return row.status();
  if (!*row) return std::nullopt;
  return EarlierDelivery{Text(query->Text(0)), Text(query->Blob(1))};
}

absl::Status InsertMessage(Sqlite& database, const NewMessage& message, int64_t body_id,
                           absl::Time now) {
  const SpooledMessage& fields = message.message;
  {
    Query query(database,
                "INSERT INTO message (queue_id, sender, octets, enqueued_at, smtputf8, eight_bit, "
                "trace_id, body_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    if (!query.status().ok()) return query.status();
    query->BindText(1, fields.queue_id);
    query->BindText(2, fields.sender);
    query->Bind(3, static_cast<int64_t>(fields.octets));
    query->Bind(4, absl::ToUnixMicros(fields.enqueued_at));
    query->Bind(5, fields.smtputf8);
    query->Bind(6, fields.eight_bit);
    query->BindText(7, fields.trace_id);
    query->Bind(8, body_id);
    if (absl::Status status = query->Run(); !status.ok()) return status;
  }
  const int64_t message_id = database.LastInsertRowid();
  for (const NewMessage::Recipient& recipient : message.recipients) {
    Query query(database,
                "INSERT INTO recipient (message_id, address, destination, next_attempt_at) "
                "VALUES (?, ?, ?, ?)");
    if (!query.status().ok()) return query.status();
    query->Bind(1, message_id);
    query->BindText(2, recipient.address);
    query->BindText(3, recipient.destination);
    query->Bind(4, absl::ToUnixMicros(fields.enqueued_at));
    if (absl::Status status = query->Run(); !status.ok()) return status;
  }
  if (message.delivery_id.empty()) return absl::OkStatus();
  Query query(
      database,
      "INSERT INTO delivery (delivery_id, digest, queue_id, committed_at) VALUES (?, ?, ?, ?)");
  if (!query.status().ok()) return query.status();
  query->BindBlob(1, message.delivery_id);
  query->BindBlob(2, message.digest);
  query->BindText(3, fields.queue_id);
  query->Bind(4, absl::ToUnixMicros(now));
  return query->Run();
}

absl::StatusOr<int64_t> CountMessages(Sqlite& database) {
  Query query(database, "SELECT count(*) FROM message");
  if (!query.status().ok()) return query.status();
  absl::StatusOr<bool> row = query->Step();
  if (!row.ok()) return row.status();
  return query->Int(0);
}

absl::StatusOr<RecordedOutcome> RecordOutcome(Sqlite& database, const JobOutcome& outcome) {
  absl::StatusOr<std::optional<MessageRow>> message = FindMessage(database, outcome.queue_id);
  if (!message.ok()) return message.status();
  RecordedOutcome recorded;
  if (!message->has_value()) return recorded;
  recorded.found = true;
  const MessageRow row = **message;
  for (const RecipientOutcome& recipient : outcome.recipients) {
    Query query(database,
                "UPDATE recipient SET state = ?, attempts = ?, next_attempt_at = ?, "
                "last_result = ?, delay_told = ? WHERE id = ? AND message_id = ?");
    if (!query.status().ok()) return query.status();
    const bool waiting = recipient.kind == RecipientOutcome::Kind::kWaiting;
    query->Bind(1, waiting                                                ? kStateWaiting
                   : recipient.kind == RecipientOutcome::Kind::kDelivered ? kStateDelivered
                                                                          : kStateFailed);
    query->Bind(2, recipient.attempts);
    query->Bind(3, waiting ? absl::ToUnixMicros(recipient.next_attempt_at) : 0);
    query->BindText(4, recipient.last_result);
    query->Bind(5, recipient.delay_told ? 1 : 0);
    query->Bind(6, recipient.id);
    query->Bind(7, row.id);
    if (absl::Status status = query->Run(); !status.ok()) return status;
  }
  for (const AddedRecipient& added : outcome.added) {
    Query query(database,
                "INSERT INTO recipient (message_id, address, destination, held, attempts, "
                "next_attempt_at, last_result, delay_told) "
                "SELECT id, ?, ?, held, ?, ?, ?, ? FROM message WHERE id = ?");
    if (!query.status().ok()) return query.status();
    query->BindText(1, added.address);
    query->BindText(2, kLocalDestination);
    query->Bind(3, added.attempts);
    query->Bind(4, absl::ToUnixMicros(added.next_attempt_at));
    query->BindText(5, added.last_result);
    query->Bind(6, added.delay_told ? 1 : 0);
    query->Bind(7, row.id);
    if (absl::Status status = query->Run(); !status.ok()) return status;
  }
  for (const NewMessage& forwarded : outcome.forwarded) {
    if (absl::Status status = storage::ReferToBody(database, row.body_id); !status.ok()) {
      return status;
    }
    absl::Status inserted =
        InsertMessage(database, forwarded, row.body_id, forwarded.message.enqueued_at);
    if (!inserted.ok()) return inserted;
  }
  {
    Query query(database, "SELECT 1 FROM recipient WHERE message_id = ? AND state = 0 LIMIT 1");
    if (!query.status().ok()) return query.status();
    query->Bind(1, row.id);
    absl::StatusOr<bool> waiting = query->Step();
    if (!waiting.ok()) return waiting.status();
    recorded.removed = !*waiting;
  }
  if (recorded.removed) {
    if (absl::Status status = RemoveMessage(database, row); !status.ok()) return status;
  }
  return recorded;
}

absl::Status ForgetDeliveries(Sqlite& database, absl::Time before) {
  Query query(database, "DELETE FROM delivery WHERE committed_at < ?");
  if (!query.status().ok()) return query.status();
  query->Bind(1, absl::ToUnixMicros(before));
  return query->Run();
}

absl::StatusOr<DuePage> SelectDue(Sqlite& database, absl::Time now, DueCursor after, int limit) {
  DuePage page;
  page.cursor = after;
  int rows = 0;
  {
    Query query(database,
                "SELECT r.next_attempt_at, r.id, m.queue_id, r.destination FROM recipient r "
                "JOIN message m ON m.id = r.message_id WHERE r.state = 0 AND r.held = 0 "
                "AND r.next_attempt_at <= ? AND (r.next_attempt_at, r.id) > (?, ?) "
                "ORDER BY r.next_attempt_at, r.id LIMIT ?");
    if (!query.status().ok()) return query.status();
    query->Bind(1, absl::ToUnixMicros(now));
    query->Bind(2, after.next_attempt_us);
    query->Bind(3, after.recipient_id);
    query->Bind(4, limit);
    while (true) {
      absl::StatusOr<bool> row = query->Step();
      if (!row.ok()) return row.status();
      if (!*row) break;
      ++rows;
      page.cursor = {query->Int(0), "", query->Int(1)};
      JobKey key{Text(query->Text(2)), Text(query->Text(3))};
      if (page.keys.empty() || !(page.keys.back() == key)) page.keys.push_back(std::move(key));
    }
  }
  page.end = rows < limit;
  if (!page.end) return page;
  Query query(database,
              "SELECT next_attempt_at FROM recipient WHERE state = 0 AND held = 0 "
              "AND next_attempt_at > ? ORDER BY next_attempt_at LIMIT 1");
  if (!query.status().ok()) return query.status();
  query->Bind(1, absl::ToUnixMicros(now));
  absl::StatusOr<bool> row = query->Step();
  if (!row.ok()) return row.status();
  if (*row) page.next_due = absl::FromUnixMicros(query->Int(0));
  return page;
}

absl::StatusOr<std::optional<Job>> SelectJob(Sqlite& database, const JobKey& key, absl::Time now) {
  Query query(
      database,
      "SELECT m.id, m.queue_id, m.sender, m.octets, m.enqueued_at, m.smtputf8, m.eight_bit, "
      "m.trace_id, r.id, r.address, r.attempts, r.delay_told FROM message m JOIN recipient r ON "
      "r.message_id = "
      "m.id "
      "WHERE m.queue_id = ? AND r.destination = ? AND r.state = 0 AND r.held = 0 "
      "AND r.next_attempt_at <= ? ORDER BY r.id");
  if (!query.status().ok()) return query.status();
  query->BindText(1, key.queue_id);
  query->BindText(2, key.destination);
  query->Bind(3, absl::ToUnixMicros(now));
  std::optional<Job> job;
  while (true) {
    absl::StatusOr<bool> row = query->Step();
    if (!row.ok()) return row.status();
    if (!*row) return job;
    if (!job.has_value()) job = Job{ReadMessage(query), key.destination, {}};
    job->recipients.push_back({query->Int(8), Text(query->Text(9)),
                               static_cast<int>(query->Int(10)), query->Int(11) != 0});
  }
}

absl::StatusOr<std::string> ReadBodyPiece(Sqlite& database, absl::string_view queue_id,
                                          int64_t index) {
  absl::StatusOr<std::optional<MessageRow>> message = FindMessage(database, queue_id);
  if (!message.ok()) return message.status();
  if (!message->has_value()) return NotQueued(queue_id);
  return storage::ReadPiece(database, (*message)->body_id, index);
}

absl::StatusOr<QueuePage> SelectEntries(Sqlite& database, int page_size,
                                        absl::string_view page_token) {
  int64_t after = 0;
  if (!page_token.empty() && (!absl::SimpleAtoi(page_token, &after) || after < 0)) {
    return NotOurPageToken();
  }
  struct Row {
    int64_t id;
    QueueEntry entry;
  };
  std::vector<Row> rows;
  {
    Query query(
        database,
        "SELECT id, queue_id, sender, octets, enqueued_at, smtputf8, eight_bit, trace_id, held "
        "FROM message WHERE id > ? ORDER BY id LIMIT ?");
    if (!query.status().ok()) return query.status();
    query->Bind(1, after);
    query->Bind(2, page_size + 1);
    while (true) {
      absl::StatusOr<bool> row = query->Step();
      if (!row.ok()) return row.status();
      if (!*row) break;
      Row& next = rows.emplace_back();
      next.id = query->Int(0);
      next.entry.message = ReadMessage(query);
      next.entry.held = query->Int(8) != 0;
    }
  }
  PageFiller filler(page_size);
  for (Row& row : rows) {
    absl::StatusOr<std::vector<QueueEntry::Recipient>> recipients =
        SelectRecipients(database, row.id);
    if (!recipients.ok()) return recipients.status();
    row.entry.recipients = *std::move(recipients);
    if (!filler.Add(std::move(row.entry))) {
      filler.page().next_page_token = absl::StrCat(after);
      break;
    }
    after = row.id;
  }
  return std::move(filler.page());
}

absl::StatusOr<QueueEntry> SelectEntry(Sqlite& database, absl::string_view queue_id) {
  QueueEntry entry;
  int64_t id = 0;
  {
    Query query(
        database,
        "SELECT id, queue_id, sender, octets, enqueued_at, smtputf8, eight_bit, trace_id, held "
        "FROM message WHERE queue_id = ?");
    if (!query.status().ok()) return query.status();
    query->BindText(1, queue_id);
    absl::StatusOr<bool> row = query->Step();
    if (!row.ok()) return row.status();
    if (!*row) return NotQueued(queue_id);
    id = query->Int(0);
    entry.message = ReadMessage(query);
    entry.held = query->Int(8) != 0;
  }
  absl::StatusOr<std::vector<QueueEntry::Recipient>> recipients = SelectRecipients(database, id);
  if (!recipients.ok()) return recipients.status();
  entry.recipients = *std::move(recipients);
  return entry;
}

absl::Status UpdateHeld(Sqlite& database, absl::string_view queue_id, bool held) {
  absl::StatusOr<std::optional<MessageRow>> message = FindMessage(database, queue_id);
  if (!message.ok()) return message.status();
  if (!message->has_value()) return NotQueued(queue_id);
  {
    Query query(database, "UPDATE message SET held = ? WHERE id = ?");
    if (!query.status().ok()) return query.status();
    query->Bind(1, held);
    query->Bind(2, (*message)->id);
    if (absl::Status status = query->Run(); !status.ok()) return status;
  }
  Query query(database, "UPDATE recipient SET held = ? WHERE message_id = ?");
  if (!query.status().ok()) return query.status();
  query->Bind(1, held);
  query->Bind(2, (*message)->id);
  return query->Run();
}

absl::Status UpdateDue(Sqlite& database, absl::string_view queue_id, absl::Time now) {
  if (queue_id.empty()) {
    Query query(database,
                "UPDATE recipient SET next_attempt_at = ?1 WHERE state = 0 AND held = 0 "
                "AND next_attempt_at > ?1");
    if (!query.status().ok()) return query.status();
    query->Bind(1, absl::ToUnixMicros(now));
    return query->Run();
  }
  absl::StatusOr<std::optional<MessageRow>> message = FindMessage(database, queue_id);
  if (!message.ok()) return message.status();
  if (!message->has_value()) return NotQueued(queue_id);
  Query query(database,
              "UPDATE recipient SET next_attempt_at = ?1 WHERE message_id = ?2 AND state = 0 "
              "AND next_attempt_at > ?1");
  if (!query.status().ok()) return query.status();
  query->Bind(1, absl::ToUnixMicros(now));
  query->Bind(2, (*message)->id);
  return query->Run();
}

absl::Status DeleteMessage(Sqlite& database, absl::string_view queue_id) {
  absl::StatusOr<std::optional<MessageRow>> message = FindMessage(database, queue_id);
  if (!message.ok()) return message.status();
  if (!message->has_value()) return NotQueued(queue_id);
  return RemoveMessage(database, **message);
}

}  // namespace postern::relay
