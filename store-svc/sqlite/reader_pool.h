// Reading connections, for as many threads at a time as there are of them.
#ifndef POSTERN_STORE_SVC_SQLITE_READER_POOL_H_
#define POSTERN_STORE_SVC_SQLITE_READER_POOL_H_

#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "services/storage/sqlite/sqlite.h"

namespace postern::store {

// Thread-safe.
class ReaderPool {
 public:
  // At least one.
  explicit ReaderPool(std::vector<std::unique_ptr<storage::Sqlite>> readers)
      : free_(std::move(readers)) {}

  // A connection for one scope. Waits for one when all are lent.
  class Lent {
   public:
    explicit Lent(ReaderPool* pool) : pool_(pool), reader_(pool->Take()) {}
    ~Lent() { pool_->Return(std::move(reader_)); }
    Lent(const Lent&) = delete;
    Lent& operator=(const Lent&) = delete;
    storage::Sqlite& operator*() const { return *reader_; }
    storage::Sqlite* operator->() const { return reader_.get(); }

   private:
    ReaderPool* const pool_;
    std::unique_ptr<storage::Sqlite> reader_;
  };

 private:
  std::unique_ptr<storage::Sqlite> Take() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](std::vector<std::unique_ptr<storage::Sqlite>>* free) { return !free->empty(); },
        &free_));
    std::unique_ptr<storage::Sqlite> reader = std::move(free_.back());
    free_.pop_back();
    return reader;
  }
  void Return(std::unique_ptr<storage::Sqlite> reader) {
    absl::MutexLock lock(&mutex_);
    free_.push_back(std::move(reader));
  }

  absl::Mutex mutex_;
  std::vector<std::unique_ptr<storage::Sqlite>> free_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_SQLITE_READER_POOL_H_
