#include "auth-svc/sqlite/sqlite_directory.h"

#include <utility>

#include "auth-svc/sql/queries.h"
#include "auth-svc/sqlite/schema.h"
#include "services/storage/sqlite/sqlite_sql.h"

namespace postern::auth {
namespace {

constexpr storage::Migration kMigrations[] = {{1, sql::k0001Directory}};

absl::Status Run(storage::Sqlite& database, absl::string_view sql) {
  absl::StatusOr<storage::Statement*> statement = database.Prepare(sql);
  return statement.ok() ? (*statement)->Run() : statement.status();
}

}  // namespace

absl::Span<const storage::Migration> SqliteDirectoryMigrations() { return kMigrations; }

absl::StatusOr<std::unique_ptr<SqliteDirectory>> SqliteDirectory::Open(const std::string& file,
                                                                       size_t readers) {
  absl::StatusOr<std::unique_ptr<storage::Sqlite>> writer =
      storage::Sqlite::Open(file, storage::Sqlite::Mode::kReadWrite);
  if (!writer.ok()) return writer.status();
  absl::Status migrated = storage::Migrate(**writer, kMigrations);
  if (!migrated.ok()) return migrated;
  std::unique_ptr<SqliteDirectory> directory(new SqliteDirectory(*std::move(writer)));
  for (size_t i = 0; i < readers; ++i) {
    absl::StatusOr<std::unique_ptr<storage::Sqlite>> reader =
        storage::Sqlite::Open(file, storage::Sqlite::Mode::kReadOnly);
    if (!reader.ok()) return reader.status();
    absl::MutexLock lock(&directory->idle_mutex_);
    directory->idle_readers_.push_back(*std::move(reader));
  }
  return directory;
}

absl::Status SqliteDirectory::Read(absl::FunctionRef<absl::Status(DirectoryReader&)> body) {
  std::unique_ptr<storage::Sqlite> reader;
  {
    absl::MutexLock lock(&idle_mutex_);
    idle_mutex_.Await(absl::Condition(
        +[](std::vector<std::unique_ptr<storage::Sqlite>>* idle) { return !idle->empty(); },
        &idle_readers_));
    reader = std::move(idle_readers_.back());
    idle_readers_.pop_back();
  }
  absl::Status status = Run(*reader, "BEGIN");
  if (status.ok()) {
    storage::SqliteSql sql(*reader);
    Queries queries(sql);
    status = body(queries);
    // Ends the snapshot; there is nothing to keep.
    absl::Status ended = Run(*reader, "ROLLBACK");
    if (status.ok()) status = ended;
  }
  absl::MutexLock lock(&idle_mutex_);
  idle_readers_.push_back(std::move(reader));
  return status;
}

absl::Status SqliteDirectory::Write(absl::FunctionRef<absl::Status(DirectoryWriter&)> body) {
  absl::MutexLock lock(&writer_mutex_);
  // Takes the write lock at once: another process's writer is waited for here and nowhere else.
  absl::Status status = Run(*writer_, "BEGIN IMMEDIATE");
  if (!status.ok()) return status;
  storage::SqliteSql sql(*writer_);
  Queries queries(sql);
  status = body(queries);
  if (status.ok()) {
    status = Run(*writer_, "COMMIT");
    if (status.ok()) return status;
  }
  // After a failed COMMIT the transaction may be gone already; then this has nothing to undo.
  Run(*writer_, "ROLLBACK").IgnoreError();
  return status;
}

}  // namespace postern::auth
