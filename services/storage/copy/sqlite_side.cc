#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/storage/body/body_store.h"
#include "services/storage/copy/side.h"
#include "services/storage/sqlite/sqlite.h"

namespace postern::storage::copy {
namespace {

constexpr int64_t kMaxPieces = 1 << 16;

absl::Status OfSystem(absl::string_view what, const std::string& file) {
  return absl::InternalError(absl::StrCat("cannot ", what, " ", file, ": ", std::strerror(errno)));
}

SqlValue ValueOf(const Use& row, int at, SqlValue::Kind kind) {
  if (row->IsNull(at)) return {};
  if (kind == SqlValue::Kind::kInt) return SqlValue::Int(row->Int(at));
  return kind == SqlValue::Kind::kText ? SqlValue::Text(row->Text(at))
                                       : SqlValue::Blob(row->Blob(at));
}

class SqliteRows final : public RowReader {
 public:
  SqliteRows(const Table& table, Statement* statement)
      : table_(table), statement_(statement), row_(table.columns.size()) {}

  absl::StatusOr<bool> Next() override {
    absl::StatusOr<bool> there = statement_->Step();
    if (!there.ok() || !*there) return there;
    for (size_t i = 0; i < row_.size(); ++i) {
      row_[i] = ValueOf(statement_, static_cast<int>(i), table_.columns[i].sqlite);
    }
    return true;
  }
  absl::Span<const SqlValue> row() const override { return row_; }

 private:
  const Table& table_;
  const Use statement_;
  std::vector<SqlValue> row_;
};

class SqliteBodies final : public BodyReader {
 public:
  SqliteBodies(Statement* bodies, Statement* pieces) : bodies_(bodies), pieces_(pieces) {}

  absl::StatusOr<bool> Next() override {
    pieces_->Reset();
    absl::StatusOr<bool> there = bodies_->Step();
    if (!there.ok() || !*there) return there;
    sha256_ = std::string(bodies_->Blob(0));
    references_ = bodies_->Int(1);
    const int64_t first = bodies_->Int(2) * kMaxPieces;
    pieces_->Bind(1, first).Bind(2, first + kMaxPieces - 1);
    return true;
  }
  absl::string_view sha256() const override { return sha256_; }
  int64_t references() const override { return references_; }

  absl::StatusOr<std::optional<CompressedPiece>> NextPiece() override {
    absl::StatusOr<bool> there = pieces_->Step();
    if (!there.ok()) return there.status();
    if (!*there) return std::nullopt;
    return CompressedPiece{std::string(pieces_->Blob(1)), static_cast<uint32_t>(pieces_->Int(0))};
  }

 private:
  const Use bodies_;
  const Use pieces_;
  std::string sha256_;
  int64_t references_ = 0;
};

// A SQLite file as both sides read it.
absl::StatusOr<std::unique_ptr<RowReader>> ReadTable(Sqlite& database, const Table& table) {
  const std::string sql = table.sqlite.select.empty()
                              ? absl::StrCat("SELECT ", ColumnList(table), " FROM ", table.name,
                                             " ORDER BY ", KeyList(table))
                              : std::string(table.sqlite.select);
  absl::StatusOr<Statement*> statement = database.Prepare(sql);
  if (!statement.ok()) return statement.status();
  return std::make_unique<SqliteRows>(table, *statement);
}

absl::StatusOr<std::unique_ptr<BodyReader>> ReadAllBodies(Sqlite& database) {
  absl::StatusOr<Statement*> bodies = database.Prepare(
      "SELECT sha256, reference_count, body_id FROM body WHERE sha256 IS NOT NULL ORDER BY sha256");
  if (!bodies.ok()) return bodies.status();
  absl::StatusOr<Statement*> pieces = database.Prepare(
      "SELECT original_octets, octets FROM body_piece WHERE piece_id BETWEEN ? AND ? "
      "ORDER BY piece_id");
  if (!pieces.ok()) return pieces.status();
  return std::make_unique<SqliteBodies>(*bodies, *pieces);
}

absl::StatusOr<bool> HasRow(Sqlite& database, const std::string& sql) {
  absl::StatusOr<Statement*> statement = database.Prepare(sql);
  if (!statement.ok()) return statement.status();
  return Use(*statement)->Step();
}

// Of a connection outside a transaction that nobody shares the file with.
absl::Status LeaveWal(Sqlite& database, const std::string& file) {
  absl::StatusOr<Statement*> statement = database.Prepare("PRAGMA journal_mode=OFF");
  if (!statement.ok()) return statement.status();
  Use use(*statement);
  absl::StatusOr<bool> mode = use->Step();
  if (!mode.ok()) return mode.status();
  return *mode && use->Text(0) == "off"
             ? absl::OkStatus()
             : absl::InternalError(absl::StrCat("sqlite: ", file, " keeps its WAL"));
}

// Opened so that nobody else can.
absl::StatusOr<std::unique_ptr<Sqlite>> OpenAlone(const std::string& file,
                                                  const Database& description) {
  absl::StatusOr<std::unique_ptr<Sqlite>> database = Sqlite::Open(file, Sqlite::Mode::kExclusive);
  if (absl::IsUnavailable(database.status())) {
    return absl::UnavailableError(
        absl::StrCat(file, " is in use: stop ", description.service, " first"));
  }
  if (!database.ok()) {
    return absl::Status(database.status().code(),
                        absl::StrCat(file, ": ", database.status().message()));
  }
  return database;
}

absl::Status CheckVersion(Sqlite& database, const std::string& file, const Database& description) {
  const absl::StatusOr<int> version = SchemaVersion(database);
  if (!version.ok()) return version.status();
  const int newest = description.sqlite_migrations.back().version;
  if (*version == newest) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      file, " has schema version ", *version, ", this program knows ", newest,
      *version < newest ? absl::StrCat(": start ", description.service, " on it once") : ""));
}

class SqliteSource final : public Source {
 public:
  SqliteSource(std::string file, std::unique_ptr<Sqlite> database)
      : file_(std::move(file)), database_(std::move(database)) {}

  std::string name() const override { return file_; }
  absl::StatusOr<std::unique_ptr<RowReader>> Read(const Table& table) override {
    return ReadTable(*database_, table);
  }
  absl::StatusOr<std::unique_ptr<BodyReader>> ReadBodies() override {
    return ReadAllBodies(*database_);
  }
  // It is locked.
  absl::Status StillUnused() override { return absl::OkStatus(); }

 private:
  const std::string file_;
  const std::unique_ptr<Sqlite> database_;
};

// The file that becomes the database when all is in it: beside it, this process's alone, and
// removed unless it was renamed.
class WorkFile {
 public:
  // What an interrupted copy left there is emptied.
  static absl::StatusOr<std::unique_ptr<WorkFile>> Make(const std::string& path) {
    const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0) return OfSystem("make", path);
    std::unique_ptr<WorkFile> file(new WorkFile(path, descriptor));
    // Whoever finished meanwhile has renamed it: then it is a database, and not to be emptied.
    struct stat ours {};
    struct stat there {};
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0 || fstat(descriptor, &ours) != 0 ||
        stat(path.c_str(), &there) != 0 || ours.st_ino != there.st_ino ||
        ours.st_dev != there.st_dev) {
      return absl::UnavailableError(absl::StrCat("another copy is writing ", path));
    }
    file->removed_at_end_ = true;
    if (ftruncate(descriptor, 0) != 0) return OfSystem("empty", path);
    return file;
  }
  ~WorkFile() {
    if (removed_at_end_) unlink(path_.c_str());
    close(descriptor_);
  }

  const std::string& path() const { return path_; }

  // Durable under its new name, in place of what has that.
  absl::Status RenameTo(const std::string& file) {
    if (fsync(descriptor_) != 0) return OfSystem("write", path_);
    if (rename(path_.c_str(), file.c_str()) != 0) return OfSystem("make", file);
    removed_at_end_ = false;
    const std::string parent = std::filesystem::path(file).parent_path().string();
    const std::string folder = parent.empty() ? "." : parent;
    const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return OfSystem("open", folder);
    const bool durable = fsync(descriptor) == 0;
    const absl::Status status = durable ? absl::OkStatus() : OfSystem("write", folder);
    close(descriptor);
    return status;
  }

 private:
  WorkFile(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}

  const std::string path_;
  const int descriptor_;
  bool removed_at_end_ = false;
};

class SqliteDestination final : public Destination {
 public:
  SqliteDestination(std::string file, std::unique_ptr<Sqlite> before,
                    std::unique_ptr<WorkFile> work, std::unique_ptr<Sqlite> database)
      : file_(std::move(file)),
        before_(std::move(before)),
        work_(std::move(work)),
        database_(std::move(database)) {}

  std::string name() const override { return file_; }
  absl::StatusOr<std::unique_ptr<RowReader>> Read(const Table& table) override {
    return ReadTable(*database_, table);
  }
  absl::StatusOr<std::unique_ptr<BodyReader>> ReadBodies() override {
    return ReadAllBodies(*database_);
  }

  // Its id stands in the message's row.
  bool bodies_first() const override { return true; }

  absl::Status Begin(const Table& table) override {
    insert_ =
        table.sqlite.insert.empty()
            ? absl::StrCat(
                  "INSERT INTO ", table.name, " (", ColumnList(table), ") VALUES (",
                  absl::StrJoin(std::vector<absl::string_view>(table.columns.size(), "?"), ", "),
                  ")")
            : std::string(table.sqlite.insert);
    return absl::OkStatus();
  }

  absl::Status Write(const Table& table, absl::Span<const SqlValue> row) override {
    absl::StatusOr<Statement*> statement = database_->Prepare(insert_);
    if (!statement.ok()) return statement.status();
    for (size_t i = 0; i < row.size(); ++i) {
      const int at = static_cast<int>(i) + 1;
      if (row[i].kind == SqlValue::Kind::kNull) {
        (*statement)->BindNull(at);
      } else if (table.columns[i].sqlite == SqlValue::Kind::kInt) {
        (*statement)->Bind(at, row[i].number);
      } else if (table.columns[i].sqlite == SqlValue::Kind::kText) {
        (*statement)->BindText(at, row[i].octets);
      } else {
        (*statement)->BindBlob(at, row[i].octets);
      }
    }
    return (*statement)->Run();
  }
  absl::Status End(const Table&) override { return absl::OkStatus(); }

  absl::StatusOr<int64_t> WriteBodies(BodyReader& bodies) override {
    int64_t written = 0;
    std::string last;
    while (true) {
      absl::StatusOr<bool> there = bodies.Next();
      if (!there.ok()) return there.status();
      if (!*there) return written;
      const int references = static_cast<int>(bodies.references());
      // Of another shard: the one that is there gets its references.
      const bool known = bodies.sha256() == last;
      absl::Status status = known ? AddBody(*database_, last, {}, references).status()
                                  : WriteBody(bodies, references);
      if (!status.ok()) return status;
      if (!known) ++written;
      last = std::string(bodies.sha256());
    }
  }

  absl::Status Finish() override { return absl::OkStatus(); }

  absl::Status Commit() override {
    if (absl::Status status = database_->Execute("COMMIT"); !status.ok()) return status;
    database_.reset();
    if (before_ != nullptr) {
      // Its WAL would be taken for the new file's, so that goes first; its lock goes last.
      absl::Status status = before_->Execute("ROLLBACK; PRAGMA query_only=OFF");
      if (!status.ok()) return status;
      if (status = LeaveWal(*before_, file_); !status.ok()) return status;
    }
    return work_->RenameTo(file_);
  }

 private:
  absl::Status WriteBody(BodyReader& bodies, int references) {
    absl::StatusOr<std::optional<CompressedPiece>> first = bodies.NextPiece();
    if (!first.ok()) return first.status();
    absl::StatusOr<std::optional<CompressedPiece>> next = std::nullopt;
    if (first->has_value()) next = bodies.NextPiece();
    if (!next.ok()) return next.status();
    if (!next->has_value()) {
      return AddBody(*database_, bodies.sha256(), first->value_or(CompressedPiece{}), references)
          .status();
    }
    absl::StatusOr<int64_t> id = BeginBody(*database_);
    if (!id.ok()) return id.status();
    if (absl::Status status = AppendPiece(*database_, *id, **first); !status.ok()) return status;
    while (next->has_value()) {
      if (absl::Status status = AppendPiece(*database_, *id, **next); !status.ok()) return status;
      next = bodies.NextPiece();
      if (!next.ok()) return next.status();
    }
    return FinishBody(*database_, *id, bodies.sha256(), references).status();
  }

  const std::string file_;
  // What has the name until the end, and nobody else can open; nullptr: nothing.
  const std::unique_ptr<Sqlite> before_;
  const std::unique_ptr<WorkFile> work_;
  std::unique_ptr<Sqlite> database_;
  // Of the table that is written.
  std::string insert_;
};

// nullptr: there is no such file.
absl::StatusOr<std::unique_ptr<Sqlite>> OpenEmpty(const std::string& file,
                                                  const Database& description) {
  if (access(file.c_str(), F_OK) != 0 && errno == ENOENT) return nullptr;
  absl::StatusOr<std::unique_ptr<Sqlite>> opened = OpenAlone(file, description);
  if (!opened.ok()) return opened;
  absl::StatusOr<bool> has_tables = HasRow(**opened, "SELECT 1 FROM sqlite_schema LIMIT 1");
  if (!has_tables.ok()) return has_tables.status();
  if (!*has_tables) return opened;
  if (absl::Status status = CheckVersion(**opened, file, description); !status.ok()) return status;
  for (const absl::string_view table : TablesOf(description)) {
    absl::StatusOr<bool> has_rows =
        HasRow(**opened, absl::StrCat("SELECT 1 FROM ", table, " LIMIT 1"));
    if (!has_rows.ok()) return has_rows.status();
    if (*has_rows) {
      return absl::FailedPreconditionError(
          absl::StrCat(file, " is not empty: table ", table, " has rows"));
    }
  }
  return opened;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> OpenSqliteSource(const std::string& file,
                                                         const Database& description) {
  if (access(file.c_str(), F_OK) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(file, ": ", std::strerror(errno)));
  }
  absl::StatusOr<std::unique_ptr<Sqlite>> database = OpenAlone(file, description);
  if (!database.ok()) return database.status();
  if (absl::Status status = CheckVersion(**database, file, description); !status.ok()) {
    return status;
  }
  return std::make_unique<SqliteSource>(file, *std::move(database));
}

absl::StatusOr<std::unique_ptr<Destination>> OpenSqliteDestination(const std::string& file,
                                                                   const Database& description) {
  absl::StatusOr<std::unique_ptr<Sqlite>> before = OpenEmpty(file, description);
  if (!before.ok()) return before.status();
  absl::StatusOr<std::unique_ptr<WorkFile>> work = WorkFile::Make(absl::StrCat(file, ".copying"));
  if (!work.ok()) return work.status();
  absl::StatusOr<std::unique_ptr<Sqlite>> database =
      Sqlite::Open((*work)->path(), Sqlite::Mode::kReadWrite);
  if (!database.ok()) return database.status();
  // Nobody reads it before it is whole and written down: it needs no journal.
  absl::Status status = (*database)->Execute(
      "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA temp_store=FILE");
  if (status.ok()) status = Migrate(**database, description.sqlite_migrations);
  if (status.ok()) status = (*database)->Execute("BEGIN");
  if (!status.ok()) return status;
  return std::make_unique<SqliteDestination>(file, *std::move(before), *std::move(work),
                                             *std::move(database));
}

}  // namespace postern::storage::copy
