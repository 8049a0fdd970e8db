// The spool in PostgreSQL, for several replicas of relay-svc (docs/adr/0038).
#ifndef POSTERN_RELAY_SVC_POSTGRESQL_POSTGRESQL_SPOOL_H_
#define POSTERN_RELAY_SVC_POSTGRESQL_POSTGRESQL_SPOOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/types/span.h"
#include "relay-svc/domain/spool.h"
#include "services/process/clock.h"
#include "services/storage/postgresql/pool.h"
#include "services/storage/sql/migration.h"

namespace postern::relay {

absl::Span<const storage::Migration> SpoolMigrations();

struct PostgresqlSpoolOptions {
  // Over all replicas.
  int64_t max_messages = 100000;
  // Writes, and reads, that may wait for a thread; one more is UNAVAILABLE.
  size_t max_waiting_writes = 1000;
  process::Clock clock = process::SystemClock();
};

// Connections that a spool uses at the same time.
inline constexpr size_t kSpoolThreads = 8;

// The schema is there: who opens it has checked (storage::postgresql::CheckSchema). `pool` must
// outlive it.
std::unique_ptr<Spool> MakePostgresqlSpool(storage::postgresql::Pool* pool,
                                           const PostgresqlSpoolOptions& options);

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_POSTGRESQL_POSTGRESQL_SPOOL_H_
