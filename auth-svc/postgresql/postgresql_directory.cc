#include "auth-svc/postgresql/postgresql_directory.h"

#include "auth-svc/postgresql/schema.h"
#include "auth-svc/sql/queries.h"

namespace postern::auth {
namespace {

using storage::Migration;
using storage::postgresql::Access;

constexpr Migration kMigrations[] = {{1, sql::k0001Directory}, {2, sql::k0002OriginAndCredentials}};

}  // namespace

absl::Span<const Migration> DirectoryMigrations() { return kMigrations; }

absl::Status PostgresqlDirectory::Read(absl::FunctionRef<absl::Status(DirectoryReader&)> body) {
  return pool_.Transact(Access::kRead, [body](storage::Sql& sql) {
    Queries queries(sql);
    return body(queries);
  });
}

absl::Status PostgresqlDirectory::Write(absl::FunctionRef<absl::Status(DirectoryWriter&)> body) {
  return pool_.Transact(Access::kWrite, [body](storage::Sql& sql) {
    // One writer at a time, as in SQLite: what a change is checked against does not change under
    // it. Readers go on.
    const absl::Status locked =
        sql.Run("LOCK TABLE domain IN SHARE ROW EXCLUSIVE MODE", {}).status();
    if (!locked.ok()) return locked;
    Queries queries(sql);
    return body(queries);
  });
}

}  // namespace postern::auth
