#include "services/storage/copy/testing/places.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/storage/postgresql/migrate.h"
#include "services/storage/postgresql/testing/test_server.h"
#include "services/storage/sqlite/sqlite.h"

namespace postern::storage::copy {
namespace {

using postgresql::Connection;
using postgresql::TestServer;
using testing::HasSubstr;

std::unique_ptr<Connection> Connect(const postgresql::Server& server) {
  auto connection = Connection::Open(server);
  EXPECT_TRUE(connection.ok()) << connection.status();
  return *std::move(connection);
}

std::unique_ptr<Sqlite> OpenFile(const std::string& file) {
  auto database = Sqlite::Open(file, Sqlite::Mode::kReadWrite);
  EXPECT_TRUE(database.ok()) << database.status();
  return *std::move(database);
}

// A database of the newest schema, and no rows.
std::string NewEmptyDatabaseFile(const Database& database) {
  std::string file = NewFile();
  EXPECT_TRUE(Migrate(*OpenFile(file), database.sqlite_migrations).ok());
  return file;
}

bool Exists(const std::string& file) { return access(file.c_str(), F_OK) == 0; }

// "table.column" of all that a query lists.
template <typename Next>
std::vector<std::string> ColumnsOf(Next next) {
  std::vector<std::string> columns;
  while (true) {
    std::pair<std::string, std::string> column = next();
    if (column.first.empty()) return columns;
    columns.push_back(absl::StrCat(column.first, ".", column.second));
  }
}

std::vector<std::string> SqliteColumns(const Database& database) {
  const std::unique_ptr<Sqlite> file = OpenFile(NewEmptyDatabaseFile(database));
  absl::StatusOr<Statement*> query = file->Prepare(
      "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c "
      "WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'");
  EXPECT_TRUE(query.ok()) << query.status();
  Use use(*query);
  return ColumnsOf([&] {
    return *use->Step() ? std::pair(std::string(use->Text(0)), std::string(use->Text(1)))
                        : std::pair<std::string, std::string>();
  });
}

std::vector<std::string> PostgresqlColumns(const Database& database) {
  const TestDatabase place(database);
  const std::unique_ptr<Connection> connection = Connect(place.server());
  auto rows = connection->Run(
      "SELECT table_name::text, column_name::text FROM information_schema.columns "
      "WHERE table_schema = 'public'",
      {});
  EXPECT_TRUE(rows.ok()) << rows.status();
  size_t row = 0;
  return ColumnsOf([&] {
    if (row == (*rows)->size()) return std::pair<std::string, std::string>();
    const size_t at = row++;
    return std::pair(std::string((*rows)->Octets(at, 0)), std::string((*rows)->Octets(at, 1)));
  });
}

bool Names(absl::string_view sql, absl::string_view word) {
  const std::vector<absl::string_view> words = absl::StrSplit(sql, absl::ByAnyChar(" ,.()=;"));
  return std::find(words.begin(), words.end(), word) != words.end();
}

void ExpectNamed(const std::vector<std::string>& columns, const Database& database,
                 Table::Sql Table::*side, const std::vector<absl::string_view>& left_out) {
  EXPECT_FALSE(columns.empty());
  for (const std::string& column : columns) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(column, '.');
    bool known = database.has_bodies && (parts.first == "body" || parts.first == "body_piece");
    for (const absl::string_view left : left_out) known |= left == parts.first || left == column;
    for (const Table& table : database.tables) {
      if (table.name != parts.first) continue;
      const Table::Sql& sql = table.*side;
      const std::string all = ColumnList(table);
      known |= Names(sql.select.empty() ? all : sql.select, parts.second) &&
               Names(sql.insert.empty() ? all : sql.insert, parts.second);
    }
    EXPECT_TRUE(known) << column << " is not carried";
  }
}

// Changes the schema's version of a copy of the file.
std::string WithVersion(const std::string& file, int version) {
  std::string changed = NewFile();
  std::filesystem::copy_file(file, changed);
  EXPECT_TRUE(OpenFile(changed)->Execute(absl::StrCat("PRAGMA user_version = ", version)).ok());
  return changed;
}

}  // namespace

std::string NewFile() {
  std::string folder = testing::TempDir() + "/copy.XXXXXX";
  EXPECT_NE(mkdtemp(folder.data()), nullptr);
  return folder + "/copied.db";
}

TestDatabase::TestDatabase(const Database& database, Schema schema)
    : database_(database),
      server_(TestServer::Shared().NewDatabase()),
      config_(TestServer::Config(server_)) {
  if (schema == Schema::kNone) return;
  const absl::StatusOr<int> applied =
      postgresql::Migrate(*Connect(server_), database.service, database.postgresql_migrations);
  EXPECT_TRUE(applied.ok()) << applied.status();
}

void TestDatabase::Execute(absl::string_view sql) const {
  const absl::Status status = Connect(server_)->Execute(sql);
  EXPECT_TRUE(status.ok()) << sql << ": " << status;
}

bool TestDatabase::IsEmpty() const {
  const std::unique_ptr<Connection> connection = Connect(server_);
  for (const absl::string_view table : TablesOf(database_)) {
    auto rows = connection->Run(absl::StrCat("SELECT 1 FROM ", table, " LIMIT 1"), {});
    EXPECT_TRUE(rows.ok()) << rows.status();
    if (!rows.ok() || (*rows)->size() > 0) return false;
  }
  return true;
}

absl::StatusOr<std::string> Copy(const Database& database, const Place& from, const Place& to) {
  return CopyDatabase(database, from, to, [](absl::string_view) {});
}

void ExpectNothingForgotten(const Database& database,
                            const std::vector<absl::string_view>& left_out) {
  std::vector<absl::string_view> all = left_out;
  all.push_back("postern_schema");
  if (database.has_bodies) all.push_back("staged_body");
  ExpectNamed(SqliteColumns(database), database, &Table::sqlite, all);
  ExpectNamed(PostgresqlColumns(database), database, &Table::postgresql, all);
}

void ExpectRefusals(const Database& database, const Place& filled_file,
                    const TestDatabase& filled_database) {
  const std::string service(database.service);
  const int sqlite_version = database.sqlite_migrations.back().version;
  const int postgresql_version = database.postgresql_migrations.back().version;
  const TestDatabase empty(database);
  const TestDatabase bare(database, TestDatabase::Schema::kNone);
  const TestDatabase newer(database);
  newer.Execute(absl::StrCat("INSERT INTO postern_schema (service, version) VALUES ('", service,
                             "', ", postgresql_version + 1, ")"));
  const TestDatabase anothers(database);
  anothers.Execute("UPDATE postern_schema SET service = 'other-svc'");
  const TestDatabase locked(database);
  const std::unique_ptr<Connection> locker = Connect(locked.server());
  // The cases before it take longer than a transaction may be idle.
  ASSERT_TRUE(locker
                  ->Execute(absl::StrCat("SET idle_in_transaction_session_timeout = 0; BEGIN; "
                                         "LOCK TABLE ",
                                         database.tables[0].name))
                  .ok());
  const TestDatabase used(database);
  postgresql::Server as_service = used.server();
  as_service.application = service;
  const std::unique_ptr<Connection> replica = Connect(as_service);

  const std::string absent = NewFile();
  const std::string empty_file = NewEmptyDatabaseFile(database);
  const std::string used_file = NewEmptyDatabaseFile(database);
  const std::unique_ptr<Sqlite> user = OpenFile(used_file);
  const std::string newer_file = WithVersion(empty_file, sqlite_version + 1);
  const std::string older_file = WithVersion(empty_file, sqlite_version - 1);
  const std::string no_database = NewFile();
  ASSERT_EQ(system(absl::StrCat("echo 'no database, but some text' > ", no_database).c_str()), 0);

  const Place& file = filled_file;
  const Place server = filled_database.place();
  struct Case {
    const char* what;
    Place from;
    Place to;
    std::string says;
  };
  const std::vector<Case> cases = {
      {"two files", file, {absent}, "both configurations have database_file"},
      {"two servers", server, empty.place(), "both configurations have postgresql"},
      {"no source", {absent}, empty.place(), absl::StrCat(absent, ": No such file")},
      {"source is no database", {no_database}, empty.place(), "the source"},
      {"source in use",
       {used_file},
       empty.place(),
       absl::StrCat(used_file, " is in use: stop ", service, " first")},
      {"newer source",
       {newer_file},
       empty.place(),
       absl::StrCat("schema version ", sqlite_version + 1, ", this program knows ",
                    sqlite_version)},
      {"older source",
       {older_file},
       empty.place(),
       absl::StrCat("schema version ", sqlite_version - 1)},
      {"source without a schema", bare.place(), {absent}, "has no schema yet"},
      {"newer database",
       newer.place(),
       {absent},
       absl::StrCat("the schema has version ", postgresql_version + 1, ", this program knows ",
                    postgresql_version)},
      {"a service is connected to the source",
       used.place(),
       {absent},
       absl::StrCat("is in use: stop every ", service)},
      {"another service's database", anothers.place(), {absent}, "the schema of other-svc"},
      {"destination without a schema", file, bare.place(),
       absl::StrCat("run ", service, " migrate")},
      {"newer destination", file, newer.place(), "this program knows"},
      {"locked destination", file, locked.place(), "is in use"},
      {"a service is connected to the destination", file, used.place(), "is in use"},
      {"destination not empty", file, server, "is not empty: table "},
      {"file not empty", server, file, "is not empty: table "},
      {"file in use", server, {used_file}, "is in use"},
      {"newer file", server, {newer_file}, "this program knows"},
      {"file is no database", server, {no_database}, "the destination"},
      {"no folder", server, {"/nonexistent/file.db"}, "/nonexistent/file.db"},
  };
  for (const Case& one : cases) {
    const absl::Status status = Copy(database, one.from, one.to).status();
    EXPECT_FALSE(status.ok()) << one.what;
    EXPECT_THAT(std::string(status.message()), HasSubstr(one.says)) << one.what;
    EXPECT_FALSE(absl::StrContains(status.message(), "\n")) << one.what;
    EXPECT_TRUE(empty.IsEmpty()) << one.what;
    EXPECT_FALSE(Exists(absent)) << one.what;
    EXPECT_FALSE(Exists(one.to.file + ".copying")) << one.what;
  }
}

void ExpectInterruptionLeavesNothing(const Database& database, const Place& filled_file,
                                     const TestDatabase& filled_database) {
  const auto killed = [&database](const Place& from, const Place& to) {
    const absl::Status status =
        CopyDatabase(database, from, to, [&database](absl::string_view line) {
          if (line == absl::StrCat("comparing ", database.tables.back().name)) raise(SIGKILL);
        }).status();
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    _exit(1);
  };
  const TestDatabase to(database);
  EXPECT_EXIT(killed(filled_file, to.place()), testing::KilledBySignal(SIGKILL), "");
  EXPECT_TRUE(to.IsEmpty());
  absl::StatusOr<std::string> copied = Copy(database, filled_file, to.place());
  EXPECT_TRUE(copied.ok()) << copied.status();
  EXPECT_FALSE(to.IsEmpty());

  const std::string file = NewFile();
  EXPECT_EXIT(killed(filled_database.place(), {file}), testing::KilledBySignal(SIGKILL), "");
  EXPECT_FALSE(Exists(file));
  EXPECT_TRUE(Exists(file + ".copying"));
  copied = Copy(database, filled_database.place(), {file});
  EXPECT_TRUE(copied.ok()) << copied.status();
  EXPECT_TRUE(Exists(file));
  EXPECT_FALSE(Exists(file + ".copying"));
}

}  // namespace postern::storage::copy
