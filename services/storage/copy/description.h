// What of a service's database is carried from SQLite to PostgreSQL and back: a description of its
// tables, which the copier (copy_database.h) reads.
#ifndef POSTERN_SERVICES_STORAGE_COPY_DESCRIPTION_H_
#define POSTERN_SERVICES_STORAGE_COPY_DESCRIPTION_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/storage/sql/migration.h"
#include "services/storage/sql/sql.h"

namespace postern::storage::copy {

// A value that both databases have, and how each declares it. kInt takes PostgreSQL's boolean too.
struct Column {
  // In messages; and in both tables, where no SQL of the table's own names its columns.
  absl::string_view name;
  SqlValue::Kind sqlite = SqlValue::Kind::kInt;
  SqlValue::Kind postgresql = SqlValue::Kind::kInt;
};

inline Column Number(absl::string_view name) { return {name}; }
inline Column Text(absl::string_view name) {
  return {name, SqlValue::Kind::kText, SqlValue::Kind::kText};
}
inline Column Octets(absl::string_view name) {
  return {name, SqlValue::Kind::kBlob, SqlValue::Kind::kBlob};
}
// SQLite's TEXT holds any octets, PostgreSQL's does not.
inline Column TextInSqlite(absl::string_view name) {
  return {name, SqlValue::Kind::kText, SqlValue::Kind::kBlob};
}

// A table that both databases have. Its rows are read in the order of their key on both sides, and
// written in that order.
struct Table {
  absl::string_view name;
  std::vector<Column> columns;
  // So many of the first columns are the key.
  size_t key_columns = 1;
  // Of one database, where the tables differ. Empty: the columns of the table. SELECT gives the
  // columns in their order, the rows in the order of the key; INSERT takes them as its parameters
  // (?1 or $1 ...). What it makes of a row that it can't place is an error.
  struct Sql {
    absl::string_view select;
    absl::string_view insert;
  };
  Sql sqlite = {};
  Sql postgresql = {};
  // Runs before the first row is written to PostgreSQL.
  absl::string_view before_postgresql = {};
  // The column that PostgreSQL numbers by itself (GENERATED ALWAYS AS IDENTITY).
  absl::string_view identity = {};
};

struct Database {
  // As in postern_schema and pg_stat_activity.
  absl::string_view service;
  absl::Span<const Migration> sqlite_migrations;
  absl::Span<const Migration> postgresql_migrations;
  // Each after those that its rows refer to.
  std::vector<Table> tables;
  // Whether it has bodies (services/storage/body). Then there is a table `message`, each row of
  // which refers to one: in SQLite by body_id, in PostgreSQL by shard and sha256.
  bool has_bodies = false;
  // Runs when all rows are in PostgreSQL: what it keeps of their number.
  absl::string_view after_postgresql = {};
};

// What there must be no row of where a copy goes.
inline std::vector<absl::string_view> TablesOf(const Database& database) {
  std::vector<absl::string_view> names;
  for (const Table& table : database.tables) names.push_back(table.name);
  if (database.has_bodies) names.insert(names.end(), {"body", "body_piece"});
  return names;
}

// Its columns, for SQL: "a, b".
std::string ColumnList(const Table& table);
// The columns of its key, for SQL.
std::string KeyList(const Table& table);

}  // namespace postern::storage::copy

#endif  // POSTERN_SERVICES_STORAGE_COPY_DESCRIPTION_H_
