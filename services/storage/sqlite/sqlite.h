// SQLite with absl::Status: a connection, statements, migrations.
#ifndef POSTERN_SERVICES_STORAGE_SQLITE_SQLITE_H_
#define POSTERN_SERVICES_STORAGE_SQLITE_SQLITE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/storage/sql/migration.h"

struct sqlite3;
struct sqlite3_stmt;

namespace postern::storage {

// A prepared statement, kept by its Sqlite. Bind, Step, read columns, Reset. A statement that gave
// a row and was not reset holds its read snapshot open, so that the WAL can't be reused: keep it in
// a Use. One thread.
class Statement {
 public:
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}

  // Positions start at 1. Views must live until the statement is reset. A failed Bind is reported
  // by the next Step.
  Statement& Bind(int position, int64_t value);
  Statement& BindText(int position, absl::string_view value);
  Statement& BindBlob(int position, absl::string_view value);
  Statement& BindNull(int position);

  // True: a row. False: done.
  absl::StatusOr<bool> Step();
  // For what gives no rows, or rows of no interest. Resets.
  absl::Status Run();
  void Reset();

  // Columns start at 0; views live until the next Step or Reset.
  int64_t Int(int column) const;
  absl::string_view Text(int column) const;
  absl::string_view Blob(int column) const;
  bool IsNull(int column) const;
  // Of each row.
  int columns() const;

 private:
  sqlite3_stmt* statement_;
  int bind_error_ = 0;
};

// Resets a statement at the end of a scope.
class Use {
 public:
  explicit Use(Statement* statement) : statement_(statement) {}
  ~Use() { statement_->Reset(); }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  Statement* operator->() const { return statement_; }

 private:
  Statement* const statement_;
};

// One connection: WAL, synchronous=FULL, foreign keys on, busy timeout. One thread at a time.
// SQLITE_CONSTRAINT_UNIQUE and _PRIMARYKEY are ALREADY_EXISTS, SQLITE_BUSY and _IOERR UNAVAILABLE,
// SQLITE_FULL RESOURCE_EXHAUSTED, the rest INTERNAL.
class Sqlite {
 public:
  // kExclusive: reads in one snapshot, and nobody else can open the file meanwhile; UNAVAILABLE
  // when somebody has it open. What a query sorts goes to SQLite's temporary files.
  enum class Mode { kReadWrite, kReadOnly, kExclusive };
  // Made when absent (kReadWrite), with mode 0600.
  static absl::StatusOr<std::unique_ptr<Sqlite>> Open(const std::string& file, Mode mode);
  ~Sqlite();

  // Prepared once per text and kept; reset before it is handed out. The text must be a literal
  // (bounded in number).
  absl::StatusOr<Statement*> Prepare(absl::string_view sql);
  // Several statements without parameters.
  absl::Status Execute(absl::string_view sql);
  int64_t LastInsertRowid() const;
  // Rows that the last INSERT, UPDATE or DELETE changed.
  int Changes() const;
  // Rows changed since Open.
  int64_t TotalChanges() const;
  // False in a transaction's middle means that SQLite rolled it back by itself (full disk, I/O
  // error).
  bool InTransaction() const;
  // The file as opened, absolute; empty in memory.
  std::string file() const;

  // From now on this connection's commits don't checkpoint by themselves: the caller does.
  void StopAutomaticCheckpoints();
  // Pages in the WAL after this connection's last commit, once automatic checkpoints are off.
  int WalPages() const;
  struct CheckpointResult {
    int wal_pages;
    int checkpointed_pages;
  };
  // Copies what it can from the WAL to the database without waiting for readers or the writer.
  absl::StatusOr<CheckpointResult> Checkpoint();

 private:
  struct Rep;
  explicit Sqlite(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

// Of the schema; 0: there is none.
absl::StatusOr<int> SchemaVersion(Sqlite& database);

// Brings the schema to the newest version, each migration in a transaction under SQLite's lock.
// FAILED_PRECONDITION when the file is newer than the program.
absl::Status Migrate(Sqlite& database, absl::Span<const Migration> migrations);

}  // namespace postern::storage

#endif  // POSTERN_SERVICES_STORAGE_SQLITE_SQLITE_H_
