#include "store-svc/postgresql/testing/test_database.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "services/storage/postgresql/migrate.h"
#include "services/storage/postgresql/testing/test_server.h"
#include "store-svc/postgresql/postgresql_mail_store.h"

namespace postern::store {
namespace {

using storage::postgresql::Connection;
using storage::postgresql::Server;
using storage::postgresql::TestServer;

// The same tables, as hash partitions of their shards.
constexpr char kPartition[] = R"(
  DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT table_name FROM information_schema.columns
                WHERE table_schema = 'public' AND column_name = 'shard' LOOP
      EXECUTE format('ALTER TABLE %I RENAME TO %I', name, 'old_' || name);
      EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) PARTITION BY HASH (shard)',
                     name, 'old_' || name);
      EXECUTE format('DROP TABLE %I', 'old_' || name);
      FOR remainder IN 0..2 LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS 3, REMAINDER %s)',
                       name || remainder, name, remainder);
      END LOOP;
    END LOOP;
  END $$)";

}  // namespace

Server NewMailDatabase(const TestDatabaseKind& kind) {
  Server server = TestServer::Shared().NewDatabase();
  TestServer::Shared().Administer(absl::StrCat(
      "ALTER ROLE ", server.user, " SET default_transaction_isolation = '", kind.isolation, "'"));
  auto connection = Connection::Open(server);
  EXPECT_TRUE(connection.ok()) << connection.status();
  EXPECT_TRUE(storage::postgresql::Migrate(**connection, "store-svc", MailMigrations()).ok());
  if (kind.partitioned) {
    const absl::Status status = (*connection)->Execute(kPartition);
    EXPECT_TRUE(status.ok()) << status;
  }
  return server;
}

}  // namespace postern::store
