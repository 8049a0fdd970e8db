#include "ctl/queue_commands.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"

namespace postern::ctl {
namespace {

using Stub = relay::v1::QueueAdminService::Stub;
using relay::v1::QueueEntry;
using relay::v1::QueueRecipient;

// When the first waiting recipient is due.
int64_t NextAttempt(const QueueEntry& entry) {
  int64_t next = 0;
  for (const QueueRecipient& recipient : entry.recipients()) {
    if (recipient.state() != QueueRecipient::STATE_WAITING) continue;
    if (next == 0 || recipient.next_attempt_at() < next) next = recipient.next_attempt_at();
  }
  return next;
}

std::string Recipients(const QueueEntry& entry) {
  if (entry.recipients().empty()) return "";
  std::string text = entry.recipients(0).address();
  if (entry.recipients_size() > 1) absl::StrAppend(&text, " +", entry.recipients_size() - 1);
  return text;
}

std::string StateText(const QueueRecipient& recipient) {
  switch (recipient.state()) {
    case QueueRecipient::STATE_WAITING:
      return absl::StrCat("waiting, next attempt ", UnixTime(recipient.next_attempt_at()));
    case QueueRecipient::STATE_DELIVERED:
      return "delivered";
    case QueueRecipient::STATE_FAILED:
      return "failed";
    default:
      return "unknown";
  }
}

std::string Text(const QueueEntry& entry) {
  std::string text = absl::StrCat(entry.queue_id(), entry.held() ? " (held)" : "", "\n  from     <",
                                  entry.envelope_sender(), ">\n  size     ", Octets(entry.size()),
                                  "\n  queued   ", UnixTime(entry.enqueued_at()));
  for (const QueueRecipient& recipient : entry.recipients()) {
    absl::StrAppend(&text, "\n  to       <", recipient.address(), "> ", StateText(recipient),
                    "; attempts: ", recipient.attempts());
    if (!recipient.last_result().empty()) {
      absl::StrAppend(&text, "\n           ", recipient.last_result());
    }
  }
  return text;
}

// Lines stay lines; everything else that steers a terminal goes.
std::string PrintableLines(const std::string& text) {
  std::string out;
  size_t start = 0;
  while (start <= text.size()) {
    const size_t end = std::min(text.find('\n', start), text.size());
    absl::StrAppend(&out, start > 0 ? "\n" : "", Printable(text.substr(start, end - start)));
    start = end + 1;
  }
  return out;
}

}  // namespace

absl::Status QueueCommands::List() {
  auto entries = remote_.List(&Stub::ListQueue, relay::v1::ListQueueRequest(),
                              &relay::v1::ListQueueResponse::mutable_entries);
  if (!entries.ok()) return entries.status();
  std::vector<Output::Row> rows;
  for (const QueueEntry& entry : *entries) {
    rows.push_back({JsonObject(entry),
                    {entry.queue_id(), absl::StrCat("<", entry.envelope_sender(), ">"),
                     Recipients(entry), Octets(entry.size()), UnixTime(entry.enqueued_at()),
                     entry.held() ? "held" : UnixTime(NextAttempt(entry))}});
  }
  output_.List("entries", {"ID", "FROM", "TO", "SIZE", "QUEUED", "NEXT ATTEMPT"}, rows);
  return absl::OkStatus();
}

absl::Status QueueCommands::Show(const std::string& queue_id) {
  relay::v1::GetQueueEntryRequest request;
  request.set_queue_id(queue_id);
  auto response = remote_.Call(&Stub::GetQueueEntry, request);
  if (!response.ok()) return response.status();
  output_.Thing(JsonObject(response->entry()), PrintableLines(Text(response->entry())));
  return absl::OkStatus();
}

absl::Status QueueCommands::Hold(const std::string& queue_id) {
  relay::v1::HoldQueueEntryRequest request;
  request.set_request_id(NewRequestId());
  request.set_queue_id(queue_id);
  auto response = remote_.Call(&Stub::HoldQueueEntry, request);
  if (!response.ok()) return response.status();
  output_.Thing(JsonObject().Text("held", queue_id),
                absl::StrCat(queue_id, " is held until it is released"));
  return absl::OkStatus();
}

absl::Status QueueCommands::Release(const std::string& queue_id) {
  relay::v1::ReleaseQueueEntryRequest request;
  request.set_request_id(NewRequestId());
  request.set_queue_id(queue_id);
  auto response = remote_.Call(&Stub::ReleaseQueueEntry, request);
  if (!response.ok()) return response.status();
  output_.Thing(JsonObject().Text("released", queue_id), absl::StrCat(queue_id, " is released"));
  return absl::OkStatus();
}

absl::Status QueueCommands::Retry(const std::string& queue_id) {
  relay::v1::RetryQueueEntryRequest request;
  request.set_request_id(NewRequestId());
  request.set_queue_id(queue_id);
  auto response = remote_.Call(&Stub::RetryQueueEntry, request);
  if (!response.ok()) return response.status();
  const std::string what = queue_id.empty() ? "all" : queue_id;
  output_.Thing(JsonObject().Text("retried", what),
                absl::StrCat(queue_id.empty() ? "every message" : queue_id,
                             ": waiting recipients are tried now"));
  return absl::OkStatus();
}

absl::Status QueueCommands::Delete(const std::string& queue_id) {
  relay::v1::DeleteQueueEntryRequest request;
  request.set_request_id(NewRequestId());
  request.set_queue_id(queue_id);
  auto response = remote_.Call(&Stub::DeleteQueueEntry, request);
  if (!response.ok()) return response.status();
  output_.Thing(JsonObject().Text("deleted", queue_id),
                absl::StrCat(queue_id, " deleted; its sender gets no notice"));
  return absl::OkStatus();
}

}  // namespace postern::ctl
