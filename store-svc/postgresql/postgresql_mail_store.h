// Mail in PostgreSQL, for several replicas of store-svc.
#ifndef POSTERN_STORE_SVC_POSTGRESQL_POSTGRESQL_MAIL_STORE_H_
#define POSTERN_STORE_SVC_POSTGRESQL_POSTGRESQL_MAIL_STORE_H_

#include <cstddef>
#include <memory>

#include "absl/types/span.h"
#include "services/process/clock.h"
#include "services/storage/postgresql/pool.h"
#include "services/storage/sql/migration.h"
#include "store-svc/domain/mail_store.h"
#include "store-svc/domain/room.h"

namespace postern::store {

absl::Span<const storage::Migration> MailMigrations();

struct PostgresqlMailStoreOptions {
  // Every mailbox's, unless its row has its own.
  Quota quota{.messages = 100000, .octets = 1 << 30};
  // Deliveries that may wait, and other writes; one more is UNAVAILABLE.
  size_t max_waiting = 1000;
};

// The schema is there: who opens it has checked (storage::postgresql::CheckSchema). `pool` must
// outlive it, and has a connection for each of kMailStoreWriters beside those of the readers.
inline constexpr size_t kMailStoreWriters = 4;
std::unique_ptr<MailStore> MakePostgresqlMailStore(storage::postgresql::Pool* pool,
                                                   const PostgresqlMailStoreOptions& options,
                                                   process::Clock clock);

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_POSTGRESQL_POSTGRESQL_MAIL_STORE_H_
