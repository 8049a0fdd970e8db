// The directory in one SQLite file.
#ifndef POSTERN_AUTH_SVC_SQLITE_SQLITE_DIRECTORY_H_
#define POSTERN_AUTH_SVC_SQLITE_SQLITE_DIRECTORY_H_

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "auth-svc/domain/directory.h"
#include "services/storage/sqlite/reader_pool.h"
#include "services/storage/sqlite/sqlite.h"

namespace postern::auth {

absl::Span<const storage::Migration> SqliteDirectoryMigrations();

// Thread-safe: `readers` reads at a time and one write; one more waits for microseconds (a read) or
// an fsync (a write). Several processes may share the file.
class SqliteDirectory final : public Directory {
 public:
  // Makes the file when it is absent, and brings its schema up to date.
  static absl::StatusOr<std::unique_ptr<SqliteDirectory>> Open(const std::string& file,
                                                               size_t readers);

  absl::Status Read(absl::FunctionRef<absl::Status(DirectoryReader&)> body) override;
  absl::Status Write(absl::FunctionRef<absl::Status(DirectoryWriter&)> body) override;

 private:
  SqliteDirectory(std::unique_ptr<storage::ReaderPool> readers,
                  std::unique_ptr<storage::Sqlite> writer)
      : readers_(std::move(readers)), writer_(std::move(writer)) {}

  const std::unique_ptr<storage::ReaderPool> readers_;
  absl::Mutex writer_mutex_;
  const std::unique_ptr<storage::Sqlite> writer_ ABSL_PT_GUARDED_BY(writer_mutex_);
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_SQLITE_SQLITE_DIRECTORY_H_
