// A real PostgreSQL for tests: Debian's newest, with TLS, in a folder of its own.
#ifndef POSTERN_SERVICES_STORAGE_POSTGRESQL_TESTING_TEST_SERVER_H_
#define POSTERN_SERVICES_STORAGE_POSTGRESQL_TESTING_TEST_SERVER_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/storage/postgresql/connection.h"

namespace postern::storage::postgresql {

// Aborts when it can't be started: no test means anything then.
class TestServer {
 public:
  // One for the whole process, ended with it.
  static TestServer& Shared();

  // `settings`: further lines of postgresql.conf.
  explicit TestServer(absl::string_view settings = "");
  ~TestServer();

  // Waits until it takes connections.
  void Start();
  // Immediate: as a crash. Start starts it again.
  void Kill();
  // SIGSTOP and SIGCONT for all of its processes.
  void Stop();
  void Continue();
  // SIGSTOP for the postmaster alone: who is connected goes on, and nobody else connects until
  // Continue.
  void StopListening();

  // A new, empty database, owned by a login role of its own.
  Server NewDatabase();
  // As a service is configured for it.
  static config::v1::PostgreSql Config(const Server& server);
  // The same, reached over TCP and TLS.
  Server OverTls(Server server) const;
  int port() const { return port_; }
  // SQL as the superuser, in `database`.
  void Administer(absl::string_view sql, absl::string_view database = "postgres");

 private:
  std::string folder_;
  int port_ = 0;
  pid_t pid_ = -1;
};

// Makes hash partitions of every table that has a column `shard`.
absl::Status PartitionByShard(Connection& connection);

}  // namespace postern::storage::postgresql

#endif  // POSTERN_SERVICES_STORAGE_POSTGRESQL_TESTING_TEST_SERVER_H_
