#include "auth-svc/postgresql/postgresql_directory.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "auth-svc/contract/directory_contract.h"
#include "gtest/gtest.h"
#include "services/storage/postgresql/connection.h"
#include "services/storage/postgresql/testing/test_server.h"

namespace postern::auth {
namespace {

using storage::postgresql::Connection;
using storage::postgresql::Migrate;
using storage::postgresql::Pool;
using storage::postgresql::Server;
using storage::postgresql::TestServer;

Server NewDatabase(const char* isolation) {
  Server server = TestServer::Shared().NewDatabase();
  TestServer::Shared().Administer(absl::StrCat(
      "ALTER ROLE ", server.user, " SET default_transaction_isolation = '", isolation, "'"));
  auto connection = Connection::Open(server);
  EXPECT_TRUE(connection.ok()) << connection.status();
  EXPECT_TRUE(Migrate(**connection, "auth-svc", DirectoryMigrations()).ok());
  return server;
}

// A replica: pool and directory.
class Replica final : public Directory {
 public:
  explicit Replica(Server server) : pool_(std::move(server), {}), directory_(&pool_) {}
  absl::Status Read(absl::FunctionRef<absl::Status(DirectoryReader&)> body) override {
    return directory_.Read(body);
  }
  absl::Status Write(absl::FunctionRef<absl::Status(DirectoryWriter&)> body) override {
    return directory_.Write(body);
  }

 private:
  Pool pool_;
  PostgresqlDirectory directory_;
};

// Writes by one replica, reads by another.
class TwoReplicas final : public Directory {
 public:
  explicit TwoReplicas(const char* isolation)
      : server_(NewDatabase(isolation)), one_(server_), other_(server_) {}
  absl::Status Read(absl::FunctionRef<absl::Status(DirectoryReader&)> body) override {
    return other_.Read(body);
  }
  absl::Status Write(absl::FunctionRef<absl::Status(DirectoryWriter&)> body) override {
    return one_.Write(body);
  }

 private:
  const Server server_;
  Replica one_;
  Replica other_;
};

INSTANTIATE_TEST_SUITE_P(Postgresql, DirectoryContract, testing::Values(DirectoryFactory([] {
                           return std::make_unique<TwoReplicas>("read committed");
                         })));
INSTANTIATE_TEST_SUITE_P(PostgresqlSerializable, DirectoryContract,
                         testing::Values(DirectoryFactory([] {
                           return std::make_unique<TwoReplicas>("serializable");
                         })));

}  // namespace
}  // namespace postern::auth
