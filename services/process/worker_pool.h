// A bounded pool for what blocks (password hashing, SQLite reads, DNS).
#ifndef POSTERN_SERVICES_PROCESS_WORKER_POOL_H_
#define POSTERN_SERVICES_PROCESS_WORKER_POOL_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"

namespace postern::process {

// Thread-safe. Jobs run in the order of Submit, on `threads` threads.
class WorkerPool {
 public:
  using Job = absl::AnyInvocable<void()>;

  WorkerPool(size_t threads, size_t max_waiting);
  // Runs what was accepted, then joins.
  ~WorkerPool();

  // False, and the job is not run, when `max_waiting` jobs wait already.
  [[nodiscard]] bool Submit(Job job);

 private:
  void Run();

  const size_t max_waiting_;
  absl::Mutex mutex_;
  std::deque<Job> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

// Runs `job` on the pool and gives `done` its answer there; or `busy`, here, when too many jobs
// wait.
template <typename Answer>
void RunOn(WorkerPool& pool, absl::AnyInvocable<Answer()> job,
           absl::AnyInvocable<void(Answer)> done, Answer busy) {
  // Shared, since a job that the pool refuses is gone and must be answered.
  auto answer = std::make_shared<absl::AnyInvocable<void(Answer)>>(std::move(done));
  const bool accepted =
      pool.Submit([job = std::move(job), answer]() mutable { std::move (*answer)(job()); });
  if (!accepted) std::move (*answer)(std::move(busy));
}

}  // namespace postern::process

#endif  // POSTERN_SERVICES_PROCESS_WORKER_POOL_H_
