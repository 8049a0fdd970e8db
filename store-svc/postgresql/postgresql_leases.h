// Leases in PostgreSQL, for several replicas of store-svc (docs/adr/0037).
#ifndef POSTERN_STORE_SVC_POSTGRESQL_POSTGRESQL_LEASES_H_
#define POSTERN_STORE_SVC_POSTGRESQL_POSTGRESQL_LEASES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/process/worker_pool.h"
#include "services/storage/postgresql/pool.h"
#include "store-svc/domain/leases.h"

namespace postern::store {

// A lease is a row, and any replica answers for it. What a replica's streams hold is free when the
// replica is silent for `life`: by the database's clock alone. Deletions check the fence themselves
// (MailStore::Delete), so that one that comes back late deletes nothing.
class PostgresqlLeases final : public Leases {
 public:
  struct Options {
    // How long a lease outlives a broken stream.
    absl::Duration grace = absl::Seconds(10);
    absl::Duration life = absl::Seconds(8);
    absl::Duration heartbeat = absl::Seconds(2);
    // That wait for a thread; one more is UNAVAILABLE.
    size_t max_waiting = 100000;
  };
  // Connections that it uses at the same time.
  static constexpr size_t kThreads = 2;

  // `pool` must outlive it. Blocks for its first heartbeat; without a database the others go on.
  PostgresqlLeases(storage::postgresql::Pool* pool, const Options& options);
  // Answers what was asked. What its streams still hold is free for others at once.
  ~PostgresqlLeases() override;

  void Take(const MailboxId& mailbox, absl::string_view credential, HoldDone done) override;
  void Resume(uint64_t fence, absl::string_view credential, TokenMailbox claimed,
              HoldDone done) override;
  // The rows forget nothing: ABORTED.
  void ResumeFormer(const MailboxId& mailbox, uint64_t fence, absl::string_view credential,
                    HoldDone done) override;
  void Find(uint64_t fence, absl::string_view credential, TokenMailbox claimed,
            MailboxDone done) override;
  void Pin(uint64_t fence, absl::string_view credential, TokenMailbox claimed,
           MailboxDone done) override;
  void Unpin(uint64_t) override {}
  void EndSession(const Hold& hold, absl::AnyInvocable<void(std::optional<Ended>)> done) override;
  void BreakStream(const Hold& hold, Done done) override;
  void PutBackBroken(Ended ended, Done done) override;
  size_t size() const override;

 private:
  // What is to be written about a hold that this replica gave up.
  struct Release {
    Hold hold;
    bool broken = false;
  };

  template <typename Answer>
  void Run(absl::AnyInvocable<Answer()> job, absl::AnyInvocable<void(Answer)> done);

  absl::StatusOr<Hold> TakeNow(const MailboxId& mailbox, const std::string& credential);
  absl::StatusOr<Hold> ResumeNow(const MailboxId& mailbox, uint64_t fence,
                                 const std::string& credential);
  absl::StatusOr<MailboxId> FindNow(const MailboxId& mailbox, uint64_t fence,
                                    const std::string& credential);
  // True: the hold was the lease's.
  absl::StatusOr<bool> ReleaseNow(const Release& release);
  // Once more later, until the database takes it.
  void ReleaseLater(Release release);
  void ReleaseLeftOvers();

  void Live(absl::Status last);
  absl::Status Beat();
  // This replica's number; 0 before the first heartbeat.
  int64_t holder() const;
  void Note(const Hold& hold);
  void Forget(const Hold& hold);

  storage::postgresql::Pool& pool_;
  const Options options_;

  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t holder_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t last_ ABSL_GUARDED_BY(mutex_) = 0;
  // Holds of this replica's streams by their fences.
  absl::flat_hash_map<uint64_t, uint64_t> holds_ ABSL_GUARDED_BY(mutex_);
  std::vector<Release> left_over_ ABSL_GUARDED_BY(mutex_);

  process::WorkerPool workers_;
  std::thread heart_;
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_POSTGRESQL_POSTGRESQL_LEASES_H_
