#include "services/process/worker_pool.h"

#include <thread>
#include <utility>

#include "absl/synchronization/mutex.h"

namespace postern::process {

WorkerPool::WorkerPool(size_t threads, size_t max_waiting) : max_waiting_(max_waiting) {
  threads_.reserve(threads);
  for (size_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { Run(); });
  }
}

WorkerPool::~WorkerPool() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

bool WorkerPool::Submit(Job job) {
  absl::MutexLock lock(&mutex_);
  if (waiting_.size() >= max_waiting_) {
    return false;
  }
  waiting_.push_back(std::move(job));
  return true;
}

void WorkerPool::Run() {
  while (true) {
    Job job;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(
          +[](WorkerPool* self) ABSL_EXCLUSIVE_LOCKS_REQUIRED(self->mutex_) {
            return self->stopping_ || !self->waiting_.empty();
          },
          this));
      if (waiting_.empty()) {
        return;
      }
      job = std::move(waiting_.front());
      waiting_.pop_front();
    }
    // Outside the lock, and gone before the next one is taken: what it holds is freed here.
    std::move(job)();
  }
}

}  // namespace postern::process
