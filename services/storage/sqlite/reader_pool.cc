#include "services/storage/sqlite/reader_pool.h"

namespace postern::storage {

absl::StatusOr<std::unique_ptr<ReaderPool>> ReaderPool::Open(const std::string& file,
                                                             size_t connections) {
  std::vector<std::unique_ptr<Sqlite>> readers;
  for (size_t i = 0; i < connections; ++i) {
    absl::StatusOr<std::unique_ptr<Sqlite>> reader = Sqlite::Open(file, Sqlite::Mode::kReadOnly);
    if (!reader.ok()) return reader.status();
    readers.push_back(*std::move(reader));
  }
  return std::unique_ptr<ReaderPool>(new ReaderPool(std::move(readers)));
}

std::unique_ptr<Sqlite> ReaderPool::Take() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(
      +[](std::vector<std::unique_ptr<Sqlite>>* free) { return !free->empty(); }, &free_));
  std::unique_ptr<Sqlite> reader = std::move(free_.back());
  free_.pop_back();
  return reader;
}

void ReaderPool::Return(std::unique_ptr<Sqlite> reader) {
  absl::MutexLock lock(&mutex_);
  free_.push_back(std::move(reader));
}

}  // namespace postern::storage
