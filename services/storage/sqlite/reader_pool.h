// Reading connections to one file, for as many threads at a time as there are of them.
#ifndef POSTERN_SERVICES_STORAGE_SQLITE_READER_POOL_H_
#define POSTERN_SERVICES_STORAGE_SQLITE_READER_POOL_H_

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/storage/sqlite/sqlite.h"

namespace postern::storage {

// Thread-safe. Outlives what it lends.
class ReaderPool {
 public:
  // `connections` is at least one. The file is there, its schema up to date.
  static absl::StatusOr<std::unique_ptr<ReaderPool>> Open(const std::string& file,
                                                          size_t connections);

  // A connection for one scope. Waits for one when all are lent.
  class Lent {
   public:
    explicit Lent(ReaderPool& pool) : pool_(pool), reader_(pool.Take()) {}
    ~Lent() { pool_.Return(std::move(reader_)); }
    Lent(const Lent&) = delete;
    Lent& operator=(const Lent&) = delete;
    Sqlite& operator*() const { return *reader_; }
    Sqlite* operator->() const { return reader_.get(); }

   private:
    ReaderPool& pool_;
    std::unique_ptr<Sqlite> reader_;
  };

 private:
  explicit ReaderPool(std::vector<std::unique_ptr<Sqlite>> readers) : free_(std::move(readers)) {}

  std::unique_ptr<Sqlite> Take();
  void Return(std::unique_ptr<Sqlite> reader);

  absl::Mutex mutex_;
  std::vector<std::unique_ptr<Sqlite>> free_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::storage

#endif  // POSTERN_SERVICES_STORAGE_SQLITE_READER_POOL_H_
