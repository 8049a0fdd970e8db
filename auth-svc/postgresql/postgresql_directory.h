// The directory in PostgreSQL, for several replicas of auth-svc.
#ifndef POSTERN_AUTH_SVC_POSTGRESQL_POSTGRESQL_DIRECTORY_H_
#define POSTERN_AUTH_SVC_POSTGRESQL_POSTGRESQL_DIRECTORY_H_

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "auth-svc/domain/directory.h"
#include "services/storage/postgresql/migrate.h"
#include "services/storage/postgresql/pool.h"

namespace postern::auth {

absl::Span<const storage::Migration> DirectoryMigrations();

// Thread-safe. Every call blocks for at least a round trip. The schema is there: who opens it has
// checked (storage::postgresql::CheckSchema).
class PostgresqlDirectory final : public Directory {
 public:
  // `pool` must outlive it.
  explicit PostgresqlDirectory(storage::postgresql::Pool* pool) : pool_(*pool) {}

  absl::Status Read(absl::FunctionRef<absl::Status(DirectoryReader&)> body) override;
  // One at a time over all replicas.
  absl::Status Write(absl::FunctionRef<absl::Status(DirectoryWriter&)> body) override;

 private:
  storage::postgresql::Pool& pool_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_POSTGRESQL_POSTGRESQL_DIRECTORY_H_
