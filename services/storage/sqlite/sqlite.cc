#include "services/storage/sqlite/sqlite.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/base/call_once.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

namespace postern::storage {
namespace {

// A writer that meets another process's lock (a second instance, a backup) waits this long.
constexpr int kBusyTimeoutMs = 5000;

// Page caches, per connection, in KiB. The writer touches one random page of each unique index per
// message; readers walk ranges.
constexpr int kWriterCacheKib = 16 << 10;
constexpr int kReaderCacheKib = 2 << 10;

// Only the file name and SQLite's own words: never a bound value.
absl::Status StatusOf(sqlite3* handle, int code) {
  const std::string text =
      absl::StrCat("sqlite: ", sqlite3_errstr(code), " (", code,
                   "): ", handle != nullptr ? sqlite3_errmsg(handle) : "no handle");
  switch (code) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
      return absl::AlreadyExistsError(text);
    default:
      break;
  }
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_IOERR:
      return absl::UnavailableError(text);
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(text);
    default:
      return absl::InternalError(text);
  }
}

int CountWalPages(void* pages, sqlite3*, const char*, int in_wal) {
  *static_cast<int*>(pages) = in_wal;
  return SQLITE_OK;
}

// SQLite would make it with the umask's mode; its -wal and -shm take the database's.
absl::Status CreatePrivateFile(const std::string& file) {
  const int descriptor = open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  // Not opened when it is there: to close it would take away this process's locks on it, those of
  // its open connections (https://sqlite.org/howtocorrupt.html, 2.2).
  if (descriptor < 0 && errno == EEXIST) return absl::OkStatus();
  if (descriptor < 0) {
    return absl::InternalError(absl::StrCat("cannot open ", file, ": ", std::strerror(errno)));
  }
  close(descriptor);
  return absl::OkStatus();
}

// A null pointer would bind NULL.
const char* Data(absl::string_view value) { return value.data() != nullptr ? value.data() : ""; }

}  // namespace

Statement& Statement::Bind(int position, int64_t value) {
  bind_error_ |= sqlite3_bind_int64(statement_, position, value);
  return *this;
}

Statement& Statement::BindText(int position, absl::string_view value) {
  bind_error_ |= sqlite3_bind_text64(statement_, position, Data(value), value.size(), SQLITE_STATIC,
                                     SQLITE_UTF8);
  return *this;
}

Statement& Statement::BindBlob(int position, absl::string_view value) {
  bind_error_ |=
      sqlite3_bind_blob64(statement_, position, Data(value), value.size(), SQLITE_STATIC);
  return *this;
}

Statement& Statement::BindNull(int position) {
  bind_error_ |= sqlite3_bind_null(statement_, position);
  return *this;
}

absl::StatusOr<bool> Statement::Step() {
  if (bind_error_ != SQLITE_OK) {
    return absl::InternalError(absl::StrCat("sqlite: cannot bind: ", sqlite3_sql(statement_)));
  }
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return StatusOf(sqlite3_db_handle(statement_),
                  sqlite3_extended_errcode(sqlite3_db_handle(statement_)));
}

absl::Status Statement::Run() {
  absl::StatusOr<bool> row = true;
  while (row.ok() && *row) row = Step();
  Reset();
  return row.status();
}

void Statement::Reset() {
  // What reset returns is the last step's error, which Step reported.
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
  bind_error_ = SQLITE_OK;
}

int Statement::columns() const { return sqlite3_column_count(statement_); }

int64_t Statement::Int(int column) const { return sqlite3_column_int64(statement_, column); }

absl::string_view Statement::Text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return text == nullptr ? absl::string_view()
                         : absl::string_view(text, sqlite3_column_bytes(statement_, column));
}

absl::string_view Statement::Blob(int column) const {
  const auto* blob = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  return blob == nullptr ? absl::string_view()
                         : absl::string_view(blob, sqlite3_column_bytes(statement_, column));
}

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

struct Sqlite::Rep {
  ~Rep() {
    for (auto& [sql, prepared] : statements) sqlite3_finalize(prepared.handle);
    sqlite3_close(handle);
  }

  struct Prepared {
    sqlite3_stmt* handle;
    std::unique_ptr<Statement> statement;
  };

  sqlite3* handle = nullptr;
  absl::flat_hash_map<std::string, Prepared> statements;
  int wal_pages = 0;
};

Sqlite::Sqlite(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}

Sqlite::~Sqlite() = default;

absl::StatusOr<std::unique_ptr<Sqlite>> Sqlite::Open(const std::string& file, Mode mode) {
  static absl::once_flag configured;
  // Its counters sit behind one mutex that every allocation of every connection takes.
  absl::call_once(configured, [] { sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); });

  if (mode == Mode::kReadWrite && file != ":memory:") {
    if (absl::Status status = CreatePrivateFile(file); !status.ok()) return status;
  }
  auto rep = std::make_unique<Rep>();
  // A reader opens the file for writing too, since reading a WAL writes to the shared index;
  // query_only below keeps it from changing data.
  const int code =
      sqlite3_open_v2(file.c_str(), &rep->handle,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  if (code != SQLITE_OK) {
    return absl::InternalError(absl::StrCat("cannot open ", file, ": ", sqlite3_errstr(code)));
  }
  sqlite3_busy_timeout(rep->handle, kBusyTimeoutMs);
  auto database = std::unique_ptr<Sqlite>(new Sqlite(std::move(rep)));
  absl::Status status;
  if (mode == Mode::kReadWrite) {
    // page_size stays at SQLite's 4096: the unique indexes make a delivery touch random leaf pages,
    // and with 8192 it writes 1.6 times, with 16384 2.6 times as much to the WAL (24 KiB with 4096,
    // 4 KiB bodies, groups of 20).
    //
    // secure_delete: Debian's build overwrites what is deleted by default, which sends every freed
    // page through the WAL; FAST does so only where no more pages are written for it.
    status = database->Execute(
        absl::StrCat("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
                     "PRAGMA secure_delete=FAST; PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0;"
                     "PRAGMA cache_size=-",
                     kWriterCacheKib));
  } else if (mode == Mode::kExclusive) {
    // Set before the file is first read, locking_mode asks for the lock that every connection
    // shares.
    status = database->Execute(
        absl::StrCat("PRAGMA locking_mode=EXCLUSIVE; PRAGMA temp_store=FILE; PRAGMA mmap_size=0;"
                     "PRAGMA cache_size=-",
                     kReaderCacheKib, "; BEGIN EXCLUSIVE; PRAGMA query_only=ON"));
  } else {
    status = database->Execute(
        absl::StrCat("PRAGMA query_only=ON; PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0;"
                     "PRAGMA cache_size=-",
                     kReaderCacheKib));
  }
  if (!status.ok()) return status;
  return database;
}

absl::StatusOr<Statement*> Sqlite::Prepare(absl::string_view sql) {
  auto found = rep_->statements.find(sql);
  if (found == rep_->statements.end()) {
    sqlite3_stmt* handle = nullptr;
    const int code = sqlite3_prepare_v3(rep_->handle, sql.data(), static_cast<int>(sql.size()),
                                        SQLITE_PREPARE_PERSISTENT, &handle, nullptr);
    if (code != SQLITE_OK) return StatusOf(rep_->handle, code);
    found =
        rep_->statements
            .emplace(std::string(sql), Rep::Prepared{handle, std::make_unique<Statement>(handle)})
            .first;
  }
  Statement* statement = found->second.statement.get();
  statement->Reset();
  return statement;
}

absl::Status Sqlite::Execute(absl::string_view sql) {
  const int code = sqlite3_exec(rep_->handle, std::string(sql).c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return StatusOf(rep_->handle, sqlite3_extended_errcode(rep_->handle));
  return absl::OkStatus();
}

int64_t Sqlite::LastInsertRowid() const { return sqlite3_last_insert_rowid(rep_->handle); }

int Sqlite::Changes() const { return sqlite3_changes(rep_->handle); }

int64_t Sqlite::TotalChanges() const { return sqlite3_total_changes64(rep_->handle); }

bool Sqlite::InTransaction() const { return sqlite3_get_autocommit(rep_->handle) == 0; }

std::string Sqlite::file() const {
  const char* name = sqlite3_db_filename(rep_->handle, "main");
  return name != nullptr ? name : "";
}

void Sqlite::StopAutomaticCheckpoints() {
  // Replaces the hook by which SQLite does them.
  sqlite3_wal_hook(rep_->handle, &CountWalPages, &rep_->wal_pages);
}

int Sqlite::WalPages() const { return rep_->wal_pages; }

absl::StatusOr<Sqlite::CheckpointResult> Sqlite::Checkpoint() {
  CheckpointResult result;
  const int code = sqlite3_wal_checkpoint_v2(rep_->handle, "main", SQLITE_CHECKPOINT_PASSIVE,
                                             &result.wal_pages, &result.checkpointed_pages);
  if (code != SQLITE_OK) return StatusOf(rep_->handle, code);
  return result;
}

absl::StatusOr<int> SchemaVersion(Sqlite& database) {
  absl::StatusOr<Statement*> query = database.Prepare("PRAGMA user_version");
  if (!query.ok()) return query.status();
  Use use(*query);
  if (absl::StatusOr<bool> row = use->Step(); !row.ok()) return row.status();
  return static_cast<int>(use->Int(0));
}

namespace {

// Inside a transaction: applies the first migration that the schema lacks. False: none is left.
absl::StatusOr<bool> ApplyNext(Sqlite& database, absl::Span<const Migration> migrations) {
  const absl::StatusOr<int> version = SchemaVersion(database);
  if (!version.ok()) return version.status();
  const int newest = migrations.empty() ? 0 : migrations.back().version;
  if (*version > newest) {
    return absl::FailedPreconditionError(absl::StrCat(database.file(), " has schema version ",
                                                      *version, ", this program knows ", newest));
  }
  for (const Migration& migration : migrations) {
    if (migration.version <= *version) continue;
    if (absl::Status done = database.Execute(migration.sql); !done.ok()) return done;
    if (absl::Status done =
            database.Execute(absl::StrCat("PRAGMA user_version=", migration.version));
        !done.ok()) {
      return done;
    }
    return true;
  }
  return false;
}

}  // namespace

absl::Status Migrate(Sqlite& database, absl::Span<const Migration> migrations) {
  for (;;) {
    // The lock first: of two processes that start together only one may see the old version.
    if (absl::Status status = database.Execute("BEGIN IMMEDIATE"); !status.ok()) return status;
    const absl::StatusOr<bool> applied = ApplyNext(database, migrations);
    if (!applied.ok()) {
      if (database.InTransaction()) database.Execute("ROLLBACK").IgnoreError();
      return applied.status();
    }
    if (absl::Status status = database.Execute("COMMIT"); !status.ok()) return status;
    if (!*applied) return absl::OkStatus();
  }
}

}  // namespace postern::storage
