// What holds for a spool, whatever keeps it.
#ifndef POSTERN_RELAY_SVC_DOMAIN_SPOOL_RULES_H_
#define POSTERN_RELAY_SVC_DOMAIN_SPOOL_RULES_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "relay-svc/domain/spool.h"

namespace postern::relay {

// What a new message makes due.
Committed CommittedNow(const NewMessage& message);
// What is spooled with an outcome makes due; no queue_id.
Committed CommittedWith(const JobOutcome& outcome);
// How many messages that are.
int64_t CountSpooled(const JobOutcome& outcome);

// Fills in what the writer knows of a notice's body.
void DescribeBody(JobOutcome::Notice* notice);

absl::Status NotQueued(absl::string_view queue_id);
absl::Status QueueIsFull();
absl::Status OtherMessage();
absl::Status ClaimIsStale();
absl::Status NotOurPageToken();

// Adds an entry to a page, its results shortened. False: it belongs to the next page, for a page
// has `page_size` entries, and stays well below the largest RPC message.
class PageFiller {
 public:
  explicit PageFiller(int page_size) : page_size_(page_size) {}
  bool Add(QueueEntry entry);
  QueuePage& page() { return page_; }

 private:
  const int page_size_;
  size_t octets_ = 0;
  QueuePage page_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_SPOOL_RULES_H_
