// The schema: versioned SQL, brought up to date by `<svc> migrate`, compared by every start.
#ifndef POSTERN_SERVICES_STORAGE_POSTGRESQL_MIGRATE_H_
#define POSTERN_SERVICES_STORAGE_POSTGRESQL_MIGRATE_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/storage/postgresql/connection.h"
#include "services/storage/sql/migration.h"

namespace postern::storage::postgresql {

// Applies what is missing, each in a transaction of its own, under a lock: several may start at
// once. `service` names whose schema it is ("auth-svc"); FAILED_PRECONDITION when the database has
// another service's, or a newer one than the last of `migrations`. How many were applied. The
// connection's statement_timeout is one that the longest migration fits in.
absl::StatusOr<int> Migrate(Connection& connection, absl::string_view service,
                            absl::Span<const Migration> migrations);

// FAILED_PRECONDITION unless the schema is the service's and as new as the last of `migrations`,
// saying which versions meet. Up to `newer` newer is fine: one for a service, since each works with
// the program before it, so that a rolling update migrates first.
absl::Status CheckSchema(Connection& connection, absl::string_view service,
                         absl::Span<const Migration> migrations, int newer = 1);

}  // namespace postern::storage::postgresql

#endif  // POSTERN_SERVICES_STORAGE_POSTGRESQL_MIGRATE_H_
