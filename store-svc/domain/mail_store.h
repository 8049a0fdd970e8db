// Where mail lives, whatever keeps it. Implementations pass the suite in mail_store_contract.h.
#ifndef POSTERN_STORE_SVC_DOMAIN_MAIL_STORE_H_
#define POSTERN_STORE_SVC_DOMAIN_MAIL_STORE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/body/piece.h"
#include "store-svc/domain/mailbox_id.h"

namespace postern::store {

// No lease has it.
constexpr uint64_t kNoFence = 0;

struct Recipient {
  MailboxId mailbox;
  // EnvelopePrefix(): stored with this mailbox's entry, before the shared body.
  std::string prefix;
};

// One message's way into all its mailboxes.
struct Delivery {
  // 16 octets.
  std::string delivery_id;
  // Distinct mailboxes, at least one.
  std::vector<Recipient> recipients;
  // For each recipient of the envelope, the places in `recipients` of the mailboxes that it leads
  // to: together they decide whether it is refused (room.h). Two aliases may share a member. Empty:
  // each mailbox is for itself.
  std::vector<std::vector<size_t>> leads_to;
};

struct DeliveryResult {
  // This delivery_id had been committed before, with the same contents; nothing was done.
  bool repeated = false;
};

struct MessageEntry {
  uint64_t uid = 0;
  // Prefix and body.
  uint64_t octets = 0;
};

// A maildrop at one moment.
struct ListingStart {
  // 0 for a mailbox that never had a message.
  uint32_t uid_validity = 0;
  // Messages from this uid on came later.
  uint64_t uid_next = 1;
  uint64_t messages = 0;
  uint64_t octets = 0;
  // The first messages, ascending.
  std::vector<MessageEntry> first_page;
};

struct StoredMessage {
  std::string prefix;
  // Prefix and body.
  uint64_t octets = 0;
  // Names the body to ReadPiece; never another's.
  std::string body;
  // Piece 0 of the body.
  std::string first_piece;
};

// Small messages that follow one another.
struct WholeMessages {
  struct Message {
    uint64_t uid = 0;
    // Prefix and body.
    std::string octets;
  };
  std::vector<Message> messages;
  // The one after them; 0: there is none.
  uint64_t next_uid = 0;
};

struct MailboxUsage {
  MailboxId mailbox;
  uint64_t messages = 0;
  uint64_t octets = 0;
  uint64_t quota_messages = 0;
  uint64_t quota_octets = 0;
};

// What changes of a mailbox's own quota: absent stays, 0 is every mailbox's again.
struct QuotaChange {
  std::optional<uint64_t> messages;
  std::optional<uint64_t> octets;
};

// A large body on its way in, in pieces; invisible until Deliver. One operation at a time; may be
// destroyed only between operations, and drops what was not delivered.
class StagedBody {
 public:
  virtual ~StagedBody() = default;
  // `done` when the piece is stored: the time to take the next. The view is not used after the
  // return.
  virtual void Append(absl::string_view piece, absl::AnyInvocable<void(absl::Status)> done) = 0;
  // As MailStore::Deliver.
  virtual void Deliver(Delivery delivery,
                       absl::AnyInvocable<void(absl::StatusOr<DeliveryResult>)> done) = 0;
};

// Thread-safe. Writes answer by callback, after the commit is durable, on a thread of the store's,
// which the callback must not block; UNAVAILABLE when the store can't take them now,
// RESOURCE_EXHAUSTED when its disk is full (FAILED_PRECONDITION for deliveries). Reads block: call
// them on a pool. Callbacks are done before the destructor returns.
class MailStore {
 public:
  virtual ~MailStore() = default;

  // All recipients of a shard in one commit, or none; a later shard's after an earlier one's, and
  // UNAVAILABLE when only the first could: the same delivery_id does the rest. ALREADY_EXISTS: the
  // delivery_id was used for other contents. RESOURCE_EXHAUSTED: WhoRefuses() names a mailbox
  // (room.h). (One that is below takes the message whatever its size: RCPT was told so, and by how
  // much messages in flight overshoot is bounded by max_message_octets for each.) `body` is not
  // used after the return.
  virtual void Deliver(Delivery delivery, absl::string_view body,
                       absl::AnyInvocable<void(absl::StatusOr<DeliveryResult>)> done) = 0;
  // `mailbox`: one of those that it is for.
  virtual std::unique_ptr<StagedBody> StageBody(const MailboxId& mailbox) = 0;

  // Those of one recipient's mailboxes that would refuse a Deliver to it now, in the order asked.
  virtual absl::StatusOr<std::vector<MailboxId>> FindFull(absl::Span<const MailboxId> ids) = 0;

  // A mailbox that never had a message is an empty one.
  virtual absl::StatusOr<ListingStart> StartListing(const MailboxId& mailbox, size_t limit) = 0;
  // Ascending, after_uid < uid < before_uid.
  virtual absl::StatusOr<std::vector<MessageEntry>> List(const MailboxId& mailbox,
                                                         uint64_t after_uid, uint64_t before_uid,
                                                         size_t limit) = 0;
  virtual absl::StatusOr<StoredMessage> Read(const MailboxId& mailbox, uint64_t uid) = 0;
  // The message and at most `limit` - 1 of those that follow it below `before_uid`, while they have
  // at most `max_octets` together. NOT_FOUND: no such uid. OUT_OF_RANGE: it alone has more.
  virtual absl::StatusOr<WholeMessages> ReadWhole(const MailboxId& mailbox, uint64_t uid,
                                                  uint64_t before_uid, size_t limit,
                                                  uint64_t max_octets) = 0;
  // NOT_FOUND past the end, or when the message was purged meanwhile.
  virtual absl::StatusOr<std::string> ReadPiece(absl::string_view body, int64_t index) = 0;

  // All of them or none, as far as a listing shows; uids that are not there are no error. Many take
  // several commits, so that others don't wait for long: StartListing is UNAVAILABLE until they are
  // gone, and an error in between does not bring them back. FAILED_PRECONDITION: the lease that
  // `fence` names is not the mailbox's any more, and nothing was deleted (Leases; kNoFence: whoever
  // has it).
  virtual void Delete(const MailboxId& mailbox, uint64_t fence, std::vector<uint64_t> uids,
                      absl::AnyInvocable<void(absl::Status)> done) = 0;

  // NOT_FOUND for a mailbox that never had a message nor a quota of its own.
  virtual absl::StatusOr<MailboxUsage> Usage(const MailboxId& mailbox) = 0;
  // In the order of their ids, those after `after` (from the first without).
  virtual absl::StatusOr<std::vector<MailboxUsage>> ListMailboxes(
      const std::optional<MailboxId>& after, size_t limit) = 0;
  virtual void SetQuota(const MailboxId& mailbox, const QuotaChange& change,
                        absl::AnyInvocable<void(absl::Status)> done) = 0;
  // Deletes all messages, in several commits; `done` gets how many. The mailbox keeps its uids'
  // numbering.
  virtual void Purge(const MailboxId& mailbox,
                     absl::AnyInvocable<void(absl::StatusOr<uint64_t>)> done) = 0;

  // Forgets delivery ids committed before `before`, at most `limit`, the oldest first; `done` gets
  // how many. Also goes on with deletions, and drops staged bodies, that were left unfinished.
  virtual void ForgetDeliveries(absl::Time before, size_t limit,
                                absl::AnyInvocable<void(absl::StatusOr<size_t>)> done) = 0;

  // Whether the database answers.
  virtual absl::Status Check() = 0;
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_DOMAIN_MAIL_STORE_H_
