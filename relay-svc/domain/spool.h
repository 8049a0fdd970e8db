// The spool: every message that relay-svc has promised to deliver, and how far each recipient is.
#ifndef POSTERN_RELAY_SVC_DOMAIN_SPOOL_H_
#define POSTERN_RELAY_SVC_DOMAIN_SPOOL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/async/done.h"
#include "services/body/piece.h"

namespace postern::relay {

// The destination of recipients that the directory called ours when they were spooled. Any other
// destination is a domain in A-labels.
inline constexpr absl::string_view kLocalDestination = "";

struct SpooledMessage {
  // 16 lower-case hexadecimal digits, random.
  std::string queue_id;
  // Empty: <>.
  std::string sender;
  uint64_t octets = 0;
  absl::Time enqueued_at;
  // What MAIL said (RFC 6531).
  bool smtputf8 = false;
  // The message has octets above 127.
  bool eight_bit = false;
  // Of the call that brought it, for the calls that take it on: 32 hexadecimal digits, or empty.
  std::string trace_id;
};

// What is worked on at a time: the recipients of one message that share a destination.
struct JobKey {
  std::string queue_id;
  std::string destination;

  friend bool operator==(const JobKey& a, const JobKey& b) {
    return a.queue_id == b.queue_id && a.destination == b.destination;
  }
  template <typename H>
  friend H AbslHashValue(H h, const JobKey& key) {
    return H::combine(std::move(h), key.queue_id, key.destination);
  }
};

struct NewMessage {
  struct Recipient {
    std::string address;
    std::string destination;
  };
  // `octets` and `eight_bit` are the writer's.
  SpooledMessage message;
  std::vector<Recipient> recipients;
  // 16 octets, and a digest of what the client gave under this id. Empty for our own messages.
  std::string delivery_id;
  std::string digest;
};

struct Committed {
  std::string queue_id;
  // This delivery_id had been committed before; nothing was added.
  bool repeated = false;
  // What can be tried now.
  std::vector<JobKey> due;
};

// A message on its way in; one operation at a time. Destroying it before Commit is done leaves
// nothing behind.
class SpoolWriter {
 public:
  virtual ~SpoolWriter() = default;
  // At most kMaxPieceOctets octets; every piece but the last has that many, and only that of an
  // empty body has none.
  virtual void Write(std::string piece, async::DoneStatus done) = 0;
  // OK means durable. ALREADY_EXISTS: the delivery_id stands for other contents.
  // RESOURCE_EXHAUSTED: the queue is full. Repeats of a committed delivery_id are OK even then.
  virtual void Commit(NewMessage message, async::Done<Committed> done) = 0;
};

struct Job {
  struct Recipient {
    int64_t id = 0;
    std::string address;
    // Attempts that were made.
    int attempts = 0;
    // The sender was told that it waits.
    bool delay_told = false;
  };
  SpooledMessage message;
  std::string destination;
  // Names the claim that it is under.
  std::string claim;
  // Those that are due, in the order of the envelope.
  std::vector<Recipient> recipients;
};

struct JobClaim {
  std::string queue_id;
  std::string claim;
};

struct RecipientOutcome {
  enum class Kind { kDelivered, kWaiting, kFailed };
  int64_t id = 0;
  Kind kind = Kind::kWaiting;
  // Attempts that were made, this one included if somebody was asked.
  int attempts = 0;
  // One line.
  std::string last_result;
  // Of kWaiting.
  absl::Time next_attempt_at;
  // The sender was told that it waits, now or before.
  bool delay_told = false;
};

// A recipient that an attempt made of another: a member of an alias that waits for itself.
struct AddedRecipient {
  std::string address;
  // Attempts that were made.
  int attempts = 0;
  absl::Time next_attempt_at;
  std::string last_result;
  // As in RecipientOutcome.
  bool delay_told = false;
};

struct JobOutcome {
  std::string queue_id;
  // The job's.
  std::string claim;
  std::vector<RecipientOutcome> recipients;
  // Ours, every one of them.
  std::vector<AddedRecipient> added;
  // Spooled in the same transaction. What the sender is told:
  struct Notice {
    NewMessage message;
    std::string body;
  };
  std::optional<Notice> notice;
  // And what goes on to addresses elsewhere, with the body of the job's message.
  std::vector<NewMessage> forwarded;
};

// Where the next FindDue goes on: after this row.
struct DueCursor {
  int64_t next_attempt_us = INT64_MIN;
  std::string queue_id;
  int64_t recipient_id = INT64_MIN;
};

struct DuePage {
  // May name a key more than once.
  std::vector<JobKey> keys;
  // Nothing is due behind this page; `next_due` says when something will be (InfiniteFuture:
  // nothing waits).
  bool end = false;
  DueCursor cursor;
  absl::Time next_due = absl::InfiniteFuture();
};

// For operators.
struct QueueEntry {
  enum class State { kWaiting, kDelivered, kFailed };
  struct Recipient {
    std::string address;
    State state = State::kWaiting;
    int attempts = 0;
    absl::Time next_attempt_at;
    std::string last_result;
  };
  SpooledMessage message;
  bool held = false;
  std::vector<Recipient> recipients;
};

struct QueuePage {
  std::vector<QueueEntry> entries;
  // Empty: the last page.
  std::string next_page_token;
};

// Thread-safe; callbacks run on the spool's own threads and must not block. Several processes may
// share a spool: a job is worked on by whoever claimed it. What became of a claim that nobody keeps
// (its process died) is not known: its recipients are due again when it runs out.
class Spool {
 public:
  virtual ~Spool() = default;

  virtual std::unique_ptr<SpoolWriter> NewMessageWriter() = 0;

  // Recipients that wait, aren't held and are due, the longest first; at most `limit` rows.
  virtual void FindDue(absl::Time now, DueCursor after, int limit, async::Done<DuePage> done) = 0;
  // Every recipient of the key that is due, for the caller alone until `until`. nullopt: none
  // (delivered, held, deleted, claimed by another). RESOURCE_EXHAUSTED: over all processes
  // `max_running` jobs of the destination are claimed already (0: any number); a moment's count,
  // that several who ask at once may pass together.
  virtual void Claim(JobKey key, absl::Time now, absl::Time until, int max_running,
                     async::Done<std::optional<Job>> done) = 0;
  // Claims that are still the caller's stay so until `until`.
  virtual void Renew(std::vector<JobClaim> claims, absl::Time until, async::DoneStatus done) = 0;
  // Piece `index` (from 0) of the message's body. NOT_FOUND past the end, or when the message is
  // gone.
  virtual void ReadPiece(std::string queue_id, int64_t index, async::Done<std::string> done) = 0;
  // Writes down an attempt's outcomes and, with them, what it says is to be spooled. The message
  // and its body go when no recipient waits. For a message that was deleted meanwhile nothing is
  // done. Never refused for a full queue. Ends the claim. FAILED_PRECONDITION: it had run out and
  // another has the job; nothing is written.
  virtual void Record(JobOutcome outcome, async::Done<Committed> done) = 0;
  // Forgets delivery_ids committed before `before`.
  virtual void ForgetDeliveryIds(absl::Time before, async::DoneStatus done) = 0;

  // In the order of arrival. INVALID_ARGUMENT: the token is not one of ours.
  virtual void List(int page_size, std::string page_token, async::Done<QueuePage> done) = 0;
  // NOT_FOUND here and below: no such message.
  virtual void Get(std::string queue_id, async::Done<QueueEntry> done) = 0;
  virtual void SetHeld(std::string queue_id, bool held, async::DoneStatus done) = 0;
  // Makes every waiting recipient due that nobody has claimed; an empty queue_id: of every message.
  virtual void MakeDue(std::string queue_id, absl::Time now, async::DoneStatus done) = 0;
  virtual void Delete(std::string queue_id, async::DoneStatus done) = 0;

  // The database answers.
  virtual void Ping(async::DoneStatus done) = 0;
  virtual int64_t messages() const = 0;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_SPOOL_H_
