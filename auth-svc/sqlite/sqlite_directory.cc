#include "auth-svc/sqlite/sqlite_directory.h"

#include <utility>

#include "auth-svc/sql/queries.h"
#include "auth-svc/sqlite/schema.h"
#include "services/storage/sqlite/sqlite_sql.h"

namespace postern::auth {
namespace {

constexpr storage::Migration kMigrations[] = {{1, sql::k0001Directory},
                                              {2, sql::k0002OriginAndCredentials}};

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
  absl::StatusOr<std::unique_ptr<storage::ReaderPool>> pool =
      storage::ReaderPool::Open(file, readers);
  if (!pool.ok()) return pool.status();
  return std::unique_ptr<SqliteDirectory>(
      new SqliteDirectory(*std::move(pool), *std::move(writer)));
}

absl::Status SqliteDirectory::Read(absl::FunctionRef<absl::Status(DirectoryReader&)> body) {
  const storage::ReaderPool::Lent reader(*readers_);
  absl::Status status = Run(*reader, "BEGIN");
  if (!status.ok()) return status;
  storage::SqliteSql sql(*reader);
  Queries queries(sql);
  status = body(queries);
  // Ends the snapshot; there is nothing to keep.
  absl::Status ended = Run(*reader, "ROLLBACK");
  return status.ok() ? ended : status;
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
