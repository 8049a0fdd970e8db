// A database with mail's schema on a real server, for tests.
#ifndef POSTERN_STORE_SVC_POSTGRESQL_TESTING_TEST_DATABASE_H_
#define POSTERN_STORE_SVC_POSTGRESQL_TESTING_TEST_DATABASE_H_

#include "services/storage/postgresql/connection.h"

namespace postern::store {

struct TestDatabaseKind {
  const char* isolation = "read committed";
  // Its tables are hash partitions of the shards.
  bool partitioned = false;
  // They are distributed by it.
  bool citus = false;
  // As Server's.
  bool returning_backwards = false;
};

storage::postgresql::Server NewMailDatabase(const TestDatabaseKind& kind = {});

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_POSTGRESQL_TESTING_TEST_DATABASE_H_
