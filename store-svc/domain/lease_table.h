// The locks of maildrops: one session at a time reads a maildrop and deletes from it.
#ifndef POSTERN_STORE_SVC_DOMAIN_LEASE_TABLE_H_
#define POSTERN_STORE_SVC_DOMAIN_LEASE_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/process/clock.h"
#include "store-svc/domain/mailbox_id.h"

namespace postern::store {

// Leases in the memory of the one process that has the database (docs/adr/0010). A lease is named
// by its fence, a number that never repeats and grows with every lease, over restarts too; whoever
// presents it must also present the credential it was taken with. It ends at once when its session
// ends; when the stream under the session breaks it stays for a grace period, in which only its
// fence takes it up again. Thread-safe.
class LeaseTable {
 public:
  struct Options {
    absl::Duration grace = absl::Seconds(10);
    // Grows with every start of the process; the upper bits of its fences.
    uint64_t epoch = 1;
    // One more is RESOURCE_EXHAUSTED.
    size_t max_leases = 100000;
  };

  // One stream's hold on a lease. After a resume the former holder's calls do nothing.
  struct Hold {
    MailboxId mailbox;
    uint64_t fence = 0;
    uint64_t holder = 0;
  };

  // What EndSession took out, so that it can be put back.
  struct Ended {
    Hold hold;
    std::string credential;
  };

  LeaseTable(Options options, process::Clock clock);

  // ABORTED: another session has it.
  absl::StatusOr<Hold> Take(const MailboxId& mailbox, absl::string_view credential);

  // Takes up a lease of this process, held or broken. NOT_FOUND: there is none with this fence
  // (any more). UNAUTHENTICATED: another credential's.
  absl::StatusOr<Hold> Resume(uint64_t fence, absl::string_view credential);

  // Takes up a lease of a former process, for a grace period after the start of this one, when
  // nobody took the mailbox since (a lease that a lower fence took up this way gives way: it was
  // superseded before the restart). ABORTED otherwise. The caller has verified that the credential
  // is good for the mailbox now.
  absl::StatusOr<Hold> ResumeFormer(const MailboxId& mailbox, uint64_t fence,
                                    absl::string_view credential);

  // The maildrop of a lease, held or broken. FAILED_PRECONDITION: the fence is stale.
  // UNAUTHENTICATED: another credential's.
  absl::StatusOr<MailboxId> Find(uint64_t fence, absl::string_view credential);

  // As Find, and until Unpin nobody else can take the mailbox, whatever happens to the lease: for
  // as long as a deletion by this fence is under way.
  absl::StatusOr<MailboxId> Pin(uint64_t fence, absl::string_view credential);
  void Unpin(uint64_t fence);

  // The session ended: the mailbox is free. Nothing when the hold was superseded.
  std::optional<Ended> EndSession(const Hold& hold);
  // The stream broke: the grace period begins.
  void BreakStream(const Hold& hold);
  // What looked like a session's end turned out to be a broken stream: the grace period begins, if
  // nobody took the mailbox since.
  void PutBackBroken(Ended ended);

  // Held or broken.
  size_t size() const;

 private:
  struct Lease {
    MailboxId mailbox;
    std::string credential;
    uint64_t holder = 0;
    int pins = 0;
    bool ended = false;
    // InfiniteFuture while a stream holds it.
    absl::Time expires = absl::InfiniteFuture();
  };

  absl::StatusOr<Hold> Add(const MailboxId& mailbox, uint64_t fence, absl::string_view credential)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Lease*> FindLive(uint64_t fence, absl::string_view credential)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Break(uint64_t fence, Lease& lease) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remove(uint64_t fence) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RemoveExpired(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool OfFormerProcess(uint64_t fence) const;

  const Options options_;
  const process::Clock clock_;
  const absl::Time started_;

  mutable absl::Mutex mutex_;
  uint64_t last_fence_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_holder_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<uint64_t, Lease> leases_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<MailboxId, uint64_t> fences_ ABSL_GUARDED_BY(mutex_);
  // In the order of breaking, so of expiry; entries whose lease lives again are skipped.
  std::deque<std::pair<absl::Time, uint64_t>> expiries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_DOMAIN_LEASE_TABLE_H_
