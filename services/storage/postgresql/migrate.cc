#include "services/storage/postgresql/migrate.h"

#include <cstdint>
#include <memory>
#include <string>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace postern::storage::postgresql {
namespace {

// "postern" in ASCII: who migrates any of our schemas holds it, for as long as the session lasts.
constexpr int64_t kLock = 0x706f737465726e;

constexpr absl::string_view kTable =
    "CREATE TABLE IF NOT EXISTS postern_schema ("
    " service text NOT NULL,"
    " version integer NOT NULL,"
    " applied_at timestamptz NOT NULL DEFAULT now())";

struct Schema {
  std::string service;
  int version = 0;
};

absl::StatusOr<Schema> Read(Connection& connection) {
  absl::StatusOr<std::unique_ptr<SqlRows>> rows =
      connection.Run("SELECT service, max(version) FROM postern_schema GROUP BY service", {});
  if (!rows.ok()) return rows.status();
  if ((*rows)->size() > 1) return absl::FailedPreconditionError("two services' schemas are mixed");
  if ((*rows)->size() == 0) return Schema{};
  return Schema{std::string((*rows)->Octets(0, 0)), static_cast<int>((*rows)->Int(0, 1))};
}

absl::Status OfAnother(absl::string_view service, const Schema& schema) {
  if (schema.service.empty() || schema.service == service) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the database has the schema of ", schema.service, ", not of ", service));
}

absl::Status TooNew(const Schema& schema, int newest) {
  if (schema.version <= newest) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the schema has version ", schema.version,
                                                    ", this program knows ", newest,
                                                    ": a newer one has been here"));
}

absl::Status Apply(Connection& connection, absl::string_view service, const Migration& migration) {
  for (const std::string& sql :
       {std::string("BEGIN"), std::string(migration.sql),
        absl::StrCat("INSERT INTO postern_schema (service, version) VALUES ('", service, "', ",
                     migration.version, ")"),
        std::string("COMMIT")}) {
    if (absl::Status status = connection.Execute(sql); !status.ok()) {
      if (!connection.broken()) connection.Execute("ROLLBACK").IgnoreError();
      return absl::Status(status.code(),
                          absl::StrCat("migration ", migration.version, ": ", status.message()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int> Migrate(Connection& connection, absl::string_view service,
                            absl::Span<const Migration> migrations) {
  if (absl::Status status =
          connection.Run("SELECT pg_advisory_lock($1)", {SqlValue::Int(kLock)}).status();
      !status.ok()) {
    return status;
  }
  const absl::Cleanup unlock = [&connection] {
    connection.Run("SELECT pg_advisory_unlock($1)", {SqlValue::Int(kLock)}).IgnoreError();
  };
  if (absl::Status status = connection.Execute(kTable); !status.ok()) return status;
  absl::StatusOr<Schema> schema = Read(connection);
  if (!schema.ok()) return schema.status();
  if (absl::Status status = OfAnother(service, *schema); !status.ok()) return status;
  if (absl::Status status = TooNew(*schema, migrations.back().version); !status.ok()) return status;
  int applied = 0;
  for (const Migration& migration : migrations) {
    if (migration.version <= schema->version) continue;
    if (absl::Status status = Apply(connection, service, migration); !status.ok()) return status;
    ++applied;
  }
  return applied;
}

absl::Status CheckSchema(Connection& connection, absl::string_view service,
                         absl::Span<const Migration> migrations, int newer) {
  absl::StatusOr<std::unique_ptr<SqlRows>> there =
      connection.Run("SELECT to_regclass('postern_schema') IS NOT NULL", {});
  if (!there.ok()) return there.status();
  absl::StatusOr<Schema> schema = Schema{};
  if ((*there)->Int(0, 0) != 0) schema = Read(connection);
  if (!schema.ok()) return schema.status();
  if (absl::Status status = OfAnother(service, *schema); !status.ok()) return status;
  const int newest = migrations.back().version;
  if (schema->version < newest) {
    return absl::FailedPreconditionError(
        schema->version == 0
            ? absl::StrCat("the database has no schema yet: run ", service, " migrate")
            : absl::StrCat("the schema has version ", schema->version, ", this program wants ",
                           newest, ": run ", service, " migrate"));
  }
  return TooNew(*schema, newest + newer);
}

}  // namespace postern::storage::postgresql
