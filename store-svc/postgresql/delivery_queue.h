// Group commit: all deliveries of a shard that wait share a transaction.
#ifndef POSTERN_STORE_SVC_POSTGRESQL_DELIVERY_QUEUE_H_
#define POSTERN_STORE_SVC_POSTGRESQL_DELIVERY_QUEUE_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"
#include "services/process/clock.h"
#include "services/storage/postgresql/pool.h"
#include "services/storage/sql/commit_metrics.h"
#include "store-svc/domain/room.h"
#include "store-svc/postgresql/delivery_batch.h"

namespace postern::store {

// Thread-safe. A lone delivery waits for nobody.
class DeliveryQueue {
 public:
  struct Options {
    size_t writers = 2;
    // One more is UNAVAILABLE.
    size_t max_waiting = 1000;
    Quota quota;
  };
  // `pool` must outlive it.
  DeliveryQueue(storage::postgresql::Pool* pool, const Options& options, process::Clock clock);
  // Commits what was accepted, then joins.
  ~DeliveryQueue();

  // Its `done` gets the outcome on a writer's thread, or here at once when too many wait.
  void Submit(std::unique_ptr<PendingDelivery> pending);

 private:
  void Run();
  std::vector<std::unique_ptr<PendingDelivery>> TakeGroup();
  void Commit(absl::Span<PendingDelivery* const> group);

  storage::postgresql::Pool& pool_;
  const Options options_;
  const process::Clock clock_;
  const storage::CommitMetrics metrics_;

  absl::Mutex mutex_;
  std::deque<std::unique_ptr<PendingDelivery>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_POSTGRESQL_DELIVERY_QUEUE_H_
