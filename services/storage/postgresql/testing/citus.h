// A Citus cluster for tests, where its extension is installed: a coordinator and two workers.
#ifndef POSTERN_SERVICES_STORAGE_POSTGRESQL_TESTING_CITUS_H_
#define POSTERN_SERVICES_STORAGE_POSTGRESQL_TESTING_CITUS_H_

#include "absl/status/status.h"
#include "services/storage/postgresql/connection.h"

namespace postern::storage::postgresql {

// Debian has no package of it.
bool CitusIsInstalled();

// An empty database on the coordinator of a cluster that is one for the whole process, owned by a
// login role of its own.
Server NewCitusDatabase();

// Distributes every table that has a column `shard` by it, all in the same way.
absl::Status DistributeByShard(Connection& connection);

}  // namespace postern::storage::postgresql

#endif  // POSTERN_SERVICES_STORAGE_POSTGRESQL_TESTING_CITUS_H_
