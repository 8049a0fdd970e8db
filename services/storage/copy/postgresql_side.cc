#include <deque>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/crypto/random_id.h"
#include "services/storage/copy/side.h"
#include "services/storage/postgresql/connection.h"
#include "services/storage/postgresql/database.h"
#include "services/storage/postgresql/migrate.h"

namespace postern::storage::copy {
namespace {

using postgresql::Connection;

// Rows of one round trip. A row may be a body's piece: two MiB at most.
constexpr int kRowsRead = 200;
constexpr int kBodiesRead = 8;
constexpr size_t kStatementsWritten = 256;
constexpr size_t kOctetsWritten = 1 << 20;
// How long the connections of a service that has ended may be seen still.
constexpr absl::Duration kLinger = absl::Seconds(2);
constexpr absl::Duration kLookAgain = absl::Milliseconds(50);

constexpr char kOthers[] =
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1 "
    "AND pid <> pg_backend_pid() LIMIT 1";

// Which shards have messages with a body, and how many.
constexpr char kCountMessages[] =
    "CREATE TEMP TABLE body_use ON COMMIT DROP AS "
    "SELECT sha256, shard, count(*) AS messages FROM message GROUP BY sha256, shard;"
    "CREATE INDEX ON body_use (sha256); ANALYZE body_use";
constexpr char kAddBody[] =
    "INSERT INTO body (shard, sha256, reference_count, original_octets, octets) "
    "SELECT shard, sha256, messages, $2::integer, $3::bytea FROM body_use WHERE sha256 = $1::bytea";
constexpr char kAddBodyInPieces[] =
    "INSERT INTO body (shard, sha256, reference_count, piece_key) "
    "SELECT shard, sha256, messages, $2::bytea FROM body_use WHERE sha256 = $1::bytea";
constexpr char kAddPiece[] =
    "INSERT INTO body_piece (shard, piece_key, position, original_octets, octets) "
    "SELECT shard, $2::bytea, $3::integer, $4::integer, $5::bytea FROM body_use "
    "WHERE sha256 = $1::bytea";
constexpr char kBodies[] =
    "SELECT sha256, reference_count, original_octets, octets, shard, piece_key FROM body "
    "ORDER BY sha256, shard";
constexpr char kPiece[] =
    "SELECT original_octets, octets FROM body_piece WHERE shard = $1 AND piece_key = $2 "
    "AND position = $3";

// The rows of a query, some at a time.
class Cursor {
 public:
  static absl::StatusOr<std::unique_ptr<Cursor>> Open(Connection& connection, int number,
                                                      absl::string_view sql, int rows) {
    const std::string name = absl::StrCat("copied", number);
    absl::Status status =
        connection.Execute(absl::StrCat("DECLARE ", name, " NO SCROLL CURSOR FOR ", sql));
    if (!status.ok()) return status;
    return std::unique_ptr<Cursor>(new Cursor(connection, name, rows));
  }
  ~Cursor() { connection_.Execute(absl::StrCat("CLOSE ", name_)).IgnoreError(); }

  absl::StatusOr<bool> Next() {
    if (rows_ != nullptr && ++at_ < rows_->size()) return true;
    absl::StatusOr<std::unique_ptr<SqlRows>> rows = connection_.Run(fetch_, {});
    if (!rows.ok()) return rows.status();
    rows_ = *std::move(rows);
    at_ = 0;
    return rows_->size() > 0;
  }
  bool IsNull(int column) const { return rows_->IsNull(at_, column); }
  int64_t Int(int column) const { return rows_->Int(at_, column); }
  absl::string_view Octets(int column) const { return rows_->Octets(at_, column); }

 private:
  Cursor(Connection& connection, std::string name, int rows)
      : connection_(connection),
        name_(std::move(name)),
        fetch_(absl::StrCat("FETCH ", rows, " FROM ", name_)) {}

  Connection& connection_;
  const std::string name_;
  const std::string fetch_;
  std::unique_ptr<SqlRows> rows_;
  size_t at_ = 0;
};

class PostgresqlRows final : public RowReader {
 public:
  PostgresqlRows(const Table& table, std::unique_ptr<Cursor> cursor)
      : table_(table), cursor_(std::move(cursor)), row_(table.columns.size()) {}

  absl::StatusOr<bool> Next() override {
    absl::StatusOr<bool> there = cursor_->Next();
    if (!there.ok() || !*there) return there;
    for (size_t i = 0; i < row_.size(); ++i) {
      const int at = static_cast<int>(i);
      if (cursor_->IsNull(at)) {
        row_[i] = {};
      } else if (table_.columns[i].postgresql == SqlValue::Kind::kInt) {
        row_[i] = SqlValue::Int(cursor_->Int(at));
      } else {
        row_[i] = {table_.columns[i].postgresql, 0, cursor_->Octets(at)};
      }
    }
    return true;
  }
  absl::Span<const SqlValue> row() const override { return row_; }

 private:
  const Table& table_;
  const std::unique_ptr<Cursor> cursor_;
  std::vector<SqlValue> row_;
};

class PostgresqlBodies final : public BodyReader {
 public:
  PostgresqlBodies(Connection& connection, std::unique_ptr<Cursor> cursor)
      : connection_(connection), cursor_(std::move(cursor)) {}

  absl::StatusOr<bool> Next() override {
    position_ = 0;
    return cursor_->Next();
  }
  absl::string_view sha256() const override { return cursor_->Octets(0); }
  int64_t references() const override { return cursor_->Int(1); }

  absl::StatusOr<std::optional<CompressedPiece>> NextPiece() override {
    const int64_t position = position_++;
    if (cursor_->IsNull(5)) {
      if (position > 0) return std::nullopt;
      return CompressedPiece{std::string(cursor_->Octets(3)),
                             static_cast<uint32_t>(cursor_->Int(2))};
    }
    absl::StatusOr<std::unique_ptr<SqlRows>> rows =
        connection_.Run(kPiece, {SqlValue::Int(cursor_->Int(4)), SqlValue::Blob(cursor_->Octets(5)),
                                 SqlValue::Int(position)});
    if (!rows.ok()) return rows.status();
    if ((*rows)->size() == 0) return std::nullopt;
    return CompressedPiece{std::string((*rows)->Octets(0, 1)),
                           static_cast<uint32_t>((*rows)->Int(0, 0))};
  }

 private:
  Connection& connection_;
  const std::unique_ptr<Cursor> cursor_;
  int64_t position_ = 0;
};

// As both sides read it.
class Reads {
 public:
  explicit Reads(Connection& connection) : connection_(connection) {}

  absl::StatusOr<std::unique_ptr<RowReader>> ReadTable(const Table& table) {
    absl::StatusOr<std::unique_ptr<Cursor>> cursor = Cursor::Open(
        connection_, ++cursors_,
        table.postgresql.select.empty() ? absl::StrCat("SELECT ", ColumnList(table), " FROM ",
                                                       table.name, " ORDER BY ", KeyList(table))
                                        : std::string(table.postgresql.select),
        kRowsRead);
    if (!cursor.ok()) return cursor.status();
    return std::make_unique<PostgresqlRows>(table, *std::move(cursor));
  }
  absl::StatusOr<std::unique_ptr<BodyReader>> ReadBodies() {
    absl::StatusOr<std::unique_ptr<Cursor>> cursor =
        Cursor::Open(connection_, ++cursors_, kBodies, kBodiesRead);
    if (!cursor.ok()) return cursor.status();
    return std::make_unique<PostgresqlBodies>(connection_, *std::move(cursor));
  }

 private:
  Connection& connection_;
  // No name is used again: what was prepared for it was another's.
  int cursors_ = 0;
};

absl::StatusOr<bool> SomebodyElse(Connection& connection, const Database& description) {
  absl::StatusOr<std::unique_ptr<SqlRows>> others =
      connection.Run(kOthers, {SqlValue::Text(description.service)});
  if (!others.ok()) return others.status();
  return (*others)->size() > 0;
}

absl::Status InUse(absl::string_view name, const Database& description) {
  return absl::UnavailableError(
      absl::StrCat(name, " is in use: stop every ", description.service, " first"));
}

std::string NameOf(const config::v1::PostgreSql& config) {
  return absl::StrCat("PostgreSQL's database ", config.database());
}

// A connection in no transaction, to what no replica of the service is connected to.
absl::StatusOr<std::unique_ptr<Connection>> Open(const config::v1::PostgreSql& config,
                                                 const Database& description) {
  absl::StatusOr<std::unique_ptr<Connection>> connection =
      postgresql::Connect(config, description.service);
  if (!connection.ok()) return connection.status();
  const absl::Time deadline = absl::Now() + kLinger;
  while (true) {
    absl::StatusOr<bool> used = SomebodyElse(**connection, description);
    if (!used.ok()) return used.status();
    if (!*used) break;
    if (absl::Now() > deadline) return InUse(NameOf(config), description);
    absl::SleepFor(kLookAgain);
  }
  // The other side takes its time.
  absl::Status status = (*connection)->Execute("SET idle_in_transaction_session_timeout = 0");
  if (status.ok()) {
    status = postgresql::CheckSchema(**connection, description.service,
                                     description.postgresql_migrations, /*newer=*/0);
  }
  if (!status.ok()) {
    return absl::Status(status.code(), absl::StrCat(NameOf(config), ": ", status.message()));
  }
  return connection;
}

class PostgresqlSource final : public Source {
 public:
  PostgresqlSource(std::string name, const Database& description,
                   std::unique_ptr<Connection> connection)
      : name_(std::move(name)), description_(description), connection_(std::move(connection)) {}

  std::string name() const override { return name_; }
  absl::StatusOr<std::unique_ptr<RowReader>> Read(const Table& table) override {
    return reads_.ReadTable(table);
  }
  absl::StatusOr<std::unique_ptr<BodyReader>> ReadBodies() override { return reads_.ReadBodies(); }

  absl::Status StillUnused() override {
    absl::StatusOr<bool> used = SomebodyElse(*connection_, description_);
    if (!used.ok()) return used.status();
    return *used ? InUse(name_, description_) : absl::OkStatus();
  }

 private:
  const std::string name_;
  const Database& description_;
  const std::unique_ptr<Connection> connection_;
  Reads reads_{*connection_};
};

class PostgresqlDestination final : public Destination {
 public:
  PostgresqlDestination(std::string name, const Database& description,
                        std::unique_ptr<Connection> connection)
      : name_(std::move(name)), description_(description), connection_(std::move(connection)) {}

  std::string name() const override { return name_; }
  absl::StatusOr<std::unique_ptr<RowReader>> Read(const Table& table) override {
    return reads_.ReadTable(table);
  }
  absl::StatusOr<std::unique_ptr<BodyReader>> ReadBodies() override { return reads_.ReadBodies(); }

  // It goes to the shards that messages refer to it from.
  bool bodies_first() const override { return false; }

  absl::Status Begin(const Table& table) override {
    insert_ = std::string(table.postgresql.insert);
    if (insert_.empty()) {
      std::vector<std::string> parameters;
      for (size_t i = 1; i <= table.columns.size(); ++i) {
        parameters.push_back(absl::StrCat("$", i));
      }
      insert_ = absl::StrCat("INSERT INTO ", table.name, " (", ColumnList(table),
                             table.identity.empty() ? ")" : ") OVERRIDING SYSTEM VALUE",
                             " VALUES (", absl::StrJoin(parameters, ", "), ")");
    }
    return table.before_postgresql.empty() ? absl::OkStatus()
                                           : connection_->Execute(table.before_postgresql);
  }

  absl::Status Write(const Table& table, absl::Span<const SqlValue> row) override {
    std::vector<SqlValue> values;
    for (size_t i = 0; i < row.size(); ++i) {
      const bool as_it_is =
          row[i].kind == SqlValue::Kind::kNull || row[i].kind == SqlValue::Kind::kInt;
      values.push_back(as_it_is ? row[i]
                                : SqlValue{table.columns[i].postgresql, 0, Keep(row[i].octets)});
    }
    return Add({insert_, std::move(values)});
  }

  absl::Status End(const Table& table) override {
    if (absl::Status status = Flush(); !status.ok()) return status;
    if (table.identity.empty()) return absl::OkStatus();
    absl::StatusOr<std::unique_ptr<SqlRows>> last = connection_->Run(
        absl::StrCat("SELECT coalesce(max(", table.identity, "), 0) FROM ", table.name), {});
    if (!last.ok()) return last.status();
    return connection_->Execute(absl::StrCat("ALTER TABLE ", table.name, " ALTER COLUMN ",
                                             table.identity, " RESTART WITH ",
                                             (*last)->Int(0, 0) + 1));
  }

  absl::StatusOr<int64_t> WriteBodies(BodyReader& bodies) override {
    if (absl::Status status = connection_->Execute(kCountMessages); !status.ok()) return status;
    int64_t written = 0;
    while (true) {
      absl::StatusOr<bool> there = bodies.Next();
      if (!there.ok()) return there.status();
      if (!*there) break;
      if (absl::Status status = WriteBody(bodies); !status.ok()) return status;
      ++written;
    }
    if (absl::Status status = Flush(); !status.ok()) return status;
    return written;
  }

  absl::Status Finish() override {
    return description_.after_postgresql.empty()
               ? absl::OkStatus()
               : connection_->Execute(description_.after_postgresql);
  }

  absl::Status Commit() override { return connection_->Execute("COMMIT"); }

 private:
  absl::Status WriteBody(BodyReader& bodies) {
    absl::StatusOr<std::optional<CompressedPiece>> piece = bodies.NextPiece();
    if (!piece.ok()) return piece.status();
    CompressedPiece first = piece->value_or(CompressedPiece{});
    if (piece->has_value()) piece = bodies.NextPiece();
    if (!piece.ok()) return piece.status();
    const std::string sha256(bodies.sha256());
    if (!piece->has_value()) {
      const SqlValue hash = SqlValue::Blob(Keep(sha256));
      return Add(
          {kAddBody,
           {hash, SqlValue::Int(first.original_octets), SqlValue::Blob(Keep(first.octets))}});
    }
    const std::string key = absl::HexStringToBytes(crypto::RandomId());
    const auto add = [&](int64_t position, const CompressedPiece& added) {
      return Add({kAddPiece,
                  {SqlValue::Blob(Keep(sha256)), SqlValue::Blob(Keep(key)), SqlValue::Int(position),
                   SqlValue::Int(added.original_octets), SqlValue::Blob(Keep(added.octets))}});
    };
    if (absl::Status status = add(0, first); !status.ok()) return status;
    for (int64_t position = 1; piece->has_value(); ++position) {
      if (absl::Status status = add(position, **piece); !status.ok()) return status;
      piece = bodies.NextPiece();
      if (!piece.ok()) return piece.status();
    }
    return Add({kAddBodyInPieces, {SqlValue::Blob(Keep(sha256)), SqlValue::Blob(Keep(key))}});
  }

  // Until the next Flush.
  absl::string_view Keep(absl::string_view octets) {
    kept_octets_ += octets.size();
    return kept_.emplace_back(octets);
  }

  absl::Status Add(postgresql::Statement statement) {
    waiting_.push_back(std::move(statement));
    return waiting_.size() < kStatementsWritten && kept_octets_ < kOctetsWritten ? absl::OkStatus()
                                                                                 : Flush();
  }

  absl::Status Flush() {
    absl::Status status;
    if (!waiting_.empty()) status = connection_->RunAll(waiting_).status();
    waiting_.clear();
    kept_.clear();
    kept_octets_ = 0;
    return status;
  }

  const std::string name_;
  const Database& description_;
  const std::unique_ptr<Connection> connection_;
  Reads reads_{*connection_};
  // Of the table that is written.
  std::string insert_;
  std::vector<postgresql::Statement> waiting_;
  std::deque<std::string> kept_;
  size_t kept_octets_ = 0;
};

absl::Status CheckEmpty(Connection& connection, const std::string& name,
                        const Database& description) {
  for (const absl::string_view table : TablesOf(description)) {
    absl::StatusOr<std::unique_ptr<SqlRows>> rows =
        connection.Run(absl::StrCat("SELECT 1 FROM ", table, " LIMIT 1"), {});
    if (!rows.ok()) return rows.status();
    if ((*rows)->size() > 0) {
      return absl::FailedPreconditionError(
          absl::StrCat(name, " is not empty: table ", table, " has rows"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> OpenPostgresqlSource(const config::v1::PostgreSql& config,
                                                             const Database& description) {
  absl::StatusOr<std::unique_ptr<Connection>> connection = Open(config, description);
  if (!connection.ok()) return connection.status();
  absl::Status status =
      (*connection)->Execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1");
  if (!status.ok()) return status;
  return std::make_unique<PostgresqlSource>(NameOf(config), description, *std::move(connection));
}

absl::StatusOr<std::unique_ptr<Destination>> OpenPostgresqlDestination(
    const config::v1::PostgreSql& config, const Database& description) {
  absl::StatusOr<std::unique_ptr<Connection>> connection = Open(config, description);
  if (!connection.ok()) return connection.status();
  const std::string name = NameOf(config);
  // Whoever comes now waits until all is there, or nothing.
  absl::Status status = (*connection)
                            ->Execute(absl::StrCat("BEGIN ISOLATION LEVEL READ COMMITTED; "
                                                   "LOCK TABLE ",
                                                   absl::StrJoin(TablesOf(description), ", "),
                                                   " IN ACCESS EXCLUSIVE MODE NOWAIT"));
  if (absl::IsAborted(status)) return InUse(name, description);
  if (status.ok()) status = CheckEmpty(**connection, name, description);
  if (!status.ok()) return status;
  return std::make_unique<PostgresqlDestination>(name, description, *std::move(connection));
}

}  // namespace postern::storage::copy
