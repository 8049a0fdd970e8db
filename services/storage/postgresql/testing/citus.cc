#include "services/storage/postgresql/testing/citus.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "services/storage/postgresql/testing/test_server.h"

namespace postern::storage::postgresql {
namespace {

// The servers speak to each other as every role.
std::string Settings() {
  std::string file = "/tmp/postern-citus-hba.XXXXXX";
  close(mkstemp(file.data()));
  std::ofstream(file) << "local all all trust\nhost all all 127.0.0.1/32 trust\n";
  chmod(file.c_str(), 0644);
  return absl::StrCat("shared_preload_libraries = 'citus'\nmax_prepared_transactions = 100\n",
                      "hba_file = '", file, "'\n");
}

struct Cluster {
  TestServer coordinator{Settings()};
  TestServer one{Settings()};
  TestServer other{Settings()};
};

constexpr char kDistribute[] = R"(
  DO $$ DECLARE name text; first text; BEGIN
    FOR name IN SELECT table_name FROM information_schema.columns
                WHERE table_schema = 'public' AND column_name = 'shard' ORDER BY table_name LOOP
      IF first IS NULL THEN
        PERFORM create_distributed_table(name, 'shard', shard_count => 8);
        first := name;
      ELSE
        PERFORM create_distributed_table(name, 'shard', colocate_with => first);
      END IF;
    END LOOP;
    ASSERT (SELECT count(*) FROM citus_tables WHERE citus_table_type = 'distributed') > 0;
  END $$)";

}  // namespace

bool CitusIsInstalled() {
  std::error_code absent;
  for (const auto& version : std::filesystem::directory_iterator("/usr/share/postgresql", absent)) {
    if (std::filesystem::exists(version.path() / "extension/citus.control")) return true;
  }
  return false;
}

Server NewCitusDatabase() {
  // Destroyed at exit, which ends the servers.
  static Cluster cluster;
  const Server server = cluster.coordinator.NewDatabase();
  for (TestServer* worker : {&cluster.one, &cluster.other}) {
    worker->Administer(absl::StrCat("CREATE ROLE ", server.user, " LOGIN"));
    worker->Administer(absl::StrCat("CREATE DATABASE ", server.database, " OWNER ", server.user));
  }
  cluster.coordinator.Administer("CREATE EXTENSION citus", server.database);
  cluster.coordinator.Administer(absl::StrCat("SELECT citus_set_coordinator_host('127.0.0.1', ",
                                              cluster.coordinator.port(), ")"),
                                 server.database);
  for (TestServer* worker : {&cluster.one, &cluster.other}) {
    worker->Administer("CREATE EXTENSION citus", server.database);
    cluster.coordinator.Administer(
        absl::StrCat("SELECT citus_add_node('127.0.0.1', ", worker->port(), ")"), server.database);
  }
  return server;
}

absl::Status DistributeByShard(Connection& connection) { return connection.Execute(kDistribute); }

}  // namespace postern::storage::postgresql
