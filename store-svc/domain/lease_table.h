// Leases in the memory of the one process that has the database (docs/adr/0010).
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
#include "store-svc/domain/leases.h"
#include "store-svc/domain/mailbox_id.h"

namespace postern::store {

// Fences grow with every lease, over restarts too. Answers at once, on the caller's thread.
class LeaseTable : public Leases {
 public:
  struct Options {
    absl::Duration grace = absl::Seconds(10);
    // Grows with every start of the process; the upper bits of its fences.
    uint64_t epoch = 1;
    // One more is RESOURCE_EXHAUSTED.
    size_t max_leases = 100000;
  };

  LeaseTable(Options options, process::Clock clock);

  void Take(const MailboxId& mailbox, absl::string_view credential, HoldDone done) override;
  void Resume(uint64_t fence, absl::string_view credential, TokenMailbox claimed,
              HoldDone done) override;
  // For a grace period after the start of this process. A lease that a lower fence took up this way
  // gives way: it was superseded before the restart.
  void ResumeFormer(const MailboxId& mailbox, uint64_t fence, absl::string_view credential,
                    HoldDone done) override;
  void Find(uint64_t fence, absl::string_view credential, TokenMailbox claimed,
            MailboxDone done) override;
  // Until Unpin nobody else can take the mailbox, whatever happens to the lease.
  void Pin(uint64_t fence, absl::string_view credential, TokenMailbox claimed,
           MailboxDone done) override;
  void Unpin(uint64_t fence) override;
  void EndSession(const Hold& hold, absl::AnyInvocable<void(std::optional<Ended>)> done) override;
  void BreakStream(const Hold& hold, Done done) override;
  void PutBackBroken(Ended ended, Done done) override;
  size_t size() const override;

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

  // As the functions above.
  absl::StatusOr<Hold> TakeNow(const MailboxId& mailbox, absl::string_view credential);
  absl::StatusOr<Hold> ResumeNow(uint64_t fence, absl::string_view credential);
  absl::StatusOr<Hold> ResumeFormerNow(const MailboxId& mailbox, uint64_t fence,
                                       absl::string_view credential);
  absl::StatusOr<MailboxId> FindNow(uint64_t fence, absl::string_view credential);
  absl::StatusOr<MailboxId> PinNow(uint64_t fence, absl::string_view credential);
  std::optional<Ended> EndNow(const Hold& hold);
  void BreakNow(const Hold& hold);
  void PutBackNow(Ended ended);

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
