#include "store-svc/postgresql/testing/test_database.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "services/storage/postgresql/migrate.h"
#include "services/storage/postgresql/testing/citus.h"
#include "services/storage/postgresql/testing/test_server.h"
#include "store-svc/postgresql/postgresql_mail_store.h"

namespace postern::store {
namespace {

using storage::postgresql::Connection;
using storage::postgresql::Server;
using storage::postgresql::TestServer;

}  // namespace

Server NewMailDatabase(const TestDatabaseKind& kind) {
  Server server =
      kind.citus ? storage::postgresql::NewCitusDatabase() : TestServer::Shared().NewDatabase();
  if (!kind.citus) {
    TestServer::Shared().Administer(absl::StrCat(
        "ALTER ROLE ", server.user, " SET default_transaction_isolation = '", kind.isolation, "'"));
  }
  auto connection = Connection::Open(server);
  EXPECT_TRUE(connection.ok()) << connection.status();
  EXPECT_TRUE(storage::postgresql::Migrate(**connection, "store-svc", MailMigrations()).ok());
  if (kind.citus) {
    const absl::Status status = storage::postgresql::DistributeByShard(**connection);
    EXPECT_TRUE(status.ok()) << status;
  }
  if (kind.partitioned) {
    const absl::Status status = storage::postgresql::PartitionByShard(**connection);
    EXPECT_TRUE(status.ok()) << status;
  }
  server.returning_backwards = kind.returning_backwards;
  return server;
}

}  // namespace postern::store
