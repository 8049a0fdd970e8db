// SQLite with absl::Status: a connection, statements, migrations.
#ifndef POSTERN_SERVICES_STORAGE_SQLITE_H_
#define POSTERN_SERVICES_STORAGE_SQLITE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

struct sqlite3;
struct sqlite3_stmt;

namespace postern::storage {

// A prepared statement, kept by its Sqlite. Bind in order, Step, read columns, Reset (the
// destructor of Use does). One thread.
class Statement {
 public:
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}

  // Positions start at 1. Views must live until the statement is reset.
  Statement& Bind(int position, int64_t value);
  Statement& BindText(int position, absl::string_view value);
  Statement& BindBlob(int position, absl::string_view value);
  Statement& BindNull(int position);

  // True: a row. False: done.
  absl::StatusOr<bool> Step();
  // For what gives no rows.
  absl::Status Run();
  void Reset();

  // Columns start at 0; views live until the next Step or Reset.
  int64_t Int(int column) const;
  absl::string_view Text(int column) const;
  absl::string_view Blob(int column) const;
  bool IsNull(int column) const;

 private:
  sqlite3_stmt* statement_;
};

// One connection: WAL, synchronous=FULL, foreign keys on, busy timeout. One thread at a time.
// SQLITE_CONSTRAINT_UNIQUE and _PRIMARYKEY are ALREADY_EXISTS, SQLITE_BUSY and _IOERR UNAVAILABLE,
// SQLITE_FULL RESOURCE_EXHAUSTED, the rest INTERNAL.
class Sqlite {
 public:
  enum class Mode { kReadWrite, kReadOnly };
  static absl::StatusOr<std::unique_ptr<Sqlite>> Open(const std::string& file, Mode mode);
  ~Sqlite();

  // Prepared once per text and kept; reset before it is handed out. The text must be a literal
  // (bounded in number).
  absl::StatusOr<Statement*> Prepare(absl::string_view sql);
  // Several statements without parameters.
  absl::Status Execute(absl::string_view sql);
  int64_t LastInsertRowid() const;
  int Changes() const;

 private:
  struct Rep;
  explicit Sqlite(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

struct Migration {
  int version;  // 1, 2, 3 ...
  absl::string_view sql;
};

// Brings the schema to the newest version, each migration in a transaction under SQLite's lock.
// FAILED_PRECONDITION when the file is newer than the program.
absl::Status Migrate(Sqlite& database, absl::Span<const Migration> migrations);

}  // namespace postern::storage

#endif  // POSTERN_SERVICES_STORAGE_SQLITE_H_
