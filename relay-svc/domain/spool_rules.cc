#include "relay-svc/domain/spool_rules.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/text/utf8.h"

namespace postern::relay {
namespace {

void AppendDue(const NewMessage& message, std::vector<JobKey>* due) {
  for (const NewMessage::Recipient& recipient : message.recipients) {
    JobKey key{message.message.queue_id, recipient.destination};
    if (std::find(due->begin(), due->end(), key) == due->end()) due->push_back(std::move(key));
  }
}

constexpr size_t kMaxPageOctets = 512 << 10;
constexpr size_t kMaxListedResultOctets = 200;

size_t ListedOctets(const QueueEntry& entry) {
  size_t octets = 128 + entry.message.sender.size();
  for (const QueueEntry::Recipient& recipient : entry.recipients) {
    octets += 48 + recipient.address.size() + recipient.last_result.size();
  }
  return octets;
}

}  // namespace

Committed CommittedNow(const NewMessage& message) {
  Committed committed;
  committed.queue_id = message.message.queue_id;
  AppendDue(message, &committed.due);
  return committed;
}

Committed CommittedWith(const JobOutcome& outcome) {
  Committed committed;
  if (outcome.notice.has_value()) AppendDue(outcome.notice->message, &committed.due);
  for (const NewMessage& message : outcome.forwarded) AppendDue(message, &committed.due);
  return committed;
}

int64_t CountSpooled(const JobOutcome& outcome) {
  return static_cast<int64_t>(outcome.forwarded.size()) + (outcome.notice.has_value() ? 1 : 0);
}

void DescribeBody(JobOutcome::Notice* notice) {
  notice->message.message.octets = notice->body.size();
  notice->message.message.eight_bit = !text::IsAscii(notice->body);
}

absl::Status NotQueued(absl::string_view queue_id) {
  return absl::NotFoundError(absl::StrCat("no message ", queue_id, " in the queue"));
}

absl::Status QueueIsFull() { return absl::ResourceExhaustedError("the queue is full"); }

absl::Status OtherMessage() {
  return absl::AlreadyExistsError("this delivery_id was used for another message");
}

absl::Status ClaimIsStale() {
  return absl::FailedPreconditionError("the claim ran out, and another has the job");
}

absl::Status NotOurPageToken() {
  return absl::InvalidArgumentError("page_token is not one of ours");
}

bool PageFiller::Add(QueueEntry entry) {
  for (QueueEntry::Recipient& recipient : entry.recipients) {
    if (recipient.last_result.size() > kMaxListedResultOctets) {
      recipient.last_result.resize(kMaxListedResultOctets);
    }
  }
  octets_ += ListedOctets(entry);
  if (!page_.entries.empty() &&
      (octets_ > kMaxPageOctets || page_.entries.size() == static_cast<size_t>(page_size_))) {
    return false;
  }
  page_.entries.push_back(std::move(entry));
  return true;
}

}  // namespace postern::relay
