// A SQLite connection as Sql.
#ifndef POSTERN_SERVICES_STORAGE_SQLITE_SQLITE_SQL_H_
#define POSTERN_SERVICES_STORAGE_SQLITE_SQLITE_SQL_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/storage/sql/sql.h"
#include "services/storage/sqlite/sqlite.h"

namespace postern::storage {

class SqliteSql final : public Sql {
 public:
  // `database` must outlive it.
  explicit SqliteSql(Sqlite& database) : database_(database) {}

  absl::StatusOr<std::unique_ptr<SqlRows>> Run(absl::string_view sql,
                                               absl::Span<const SqlValue> values) override;

 private:
  Sqlite& database_;
};

}  // namespace postern::storage

#endif  // POSTERN_SERVICES_STORAGE_SQLITE_SQLITE_SQL_H_
