// The directory in one SQLite file.
#ifndef POSTERN_AUTH_SVC_SQLITE_SQLITE_DIRECTORY_H_
#define POSTERN_AUTH_SVC_SQLITE_SQLITE_DIRECTORY_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "auth-svc/domain/directory.h"
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
  explicit SqliteDirectory(std::unique_ptr<storage::Sqlite> writer) : writer_(std::move(writer)) {}

  absl::Mutex idle_mutex_;
  std::vector<std::unique_ptr<storage::Sqlite>> idle_readers_ ABSL_GUARDED_BY(idle_mutex_);
  absl::Mutex writer_mutex_;
  const std::unique_ptr<storage::Sqlite> writer_ ABSL_PT_GUARDED_BY(writer_mutex_);
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_SQLITE_SQLITE_DIRECTORY_H_
