#include "services/storage/postgresql/testing/test_server.h"

#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/identity/test_pki.h"
#include "services/storage/testing/server_process.h"

namespace postern::storage::postgresql {
namespace {

constexpr absl::Duration kStartTime = absl::Seconds(60);
// initdb and postgres refuse to run as root.
constexpr char kUser[] = "postgres";

constexpr char kPartition[] = R"(
  DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT table_name FROM information_schema.columns
                WHERE table_schema = 'public' AND column_name = 'shard' LOOP
      EXECUTE format('ALTER TABLE %I RENAME TO %I', name, 'old_' || name);
      EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) PARTITION BY HASH (shard)',
                     name, 'old_' || name);
      FOR remainder IN 0..2 LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS 3, REMAINDER %s)',
                       name || remainder, name, remainder);
      END LOOP;
      EXECUTE format('INSERT INTO %I SELECT * FROM %I', name, 'old_' || name);
      EXECUTE format('DROP TABLE %I', 'old_' || name);
    END LOOP;
  END $$)";

// The newest of Debian's, which install side by side.
std::string Program(absl::string_view name) {
  int newest = 0;
  std::string found;
  std::error_code absent;
  for (const auto& entry : std::filesystem::directory_iterator("/usr/lib/postgresql", absent)) {
    int version = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &version) || version < newest) continue;
    newest = version;
    found = absl::StrCat(entry.path().string(), "/bin/", name);
  }
  Check(!found.empty(), "PostgreSQL is not installed: ./dev test installs it");
  return found;
}

pid_t SpawnPostgres(std::vector<std::string> arguments, const std::string& log) {
  return Spawn(std::move(arguments), log, "QUIT", geteuid() == 0 ? kUser : "");
}

// Of the postmaster.
std::vector<pid_t> Children(pid_t pid) {
  std::istringstream children(Contents(absl::StrCat("/proc/", pid, "/task/", pid, "/children")));
  return {std::istream_iterator<pid_t>(children), {}};
}

}  // namespace

TestServer& TestServer::Shared() {
  // Destroyed at exit, which ends the server.
  static TestServer server;
  return server;
}

TestServer::TestServer(absl::string_view settings) {
  folder_ = "/tmp/postern-postgresql.XXXXXX";
  Check(mkdtemp(folder_.data()) != nullptr, folder_);
  const identity::TestPki pki(absl::StrCat(folder_, "/pki"));
  const config::v1::MutualTls tls =
      pki.Issue("server", {.dns = {"localhost"}, .addresses = {"127.0.0.1"}});
  if (geteuid() == 0) {
    const passwd* const user = getpwnam(kUser);
    Check(user != nullptr, "there is no user postgres");
    for (const std::string& path :
         {folder_, pki.directory(), tls.private_key_file(), tls.certificate_file()}) {
      Check(chown(path.c_str(), user->pw_uid, user->pw_gid) == 0, path);
    }
  }
  chmod(folder_.c_str(), 0755);
  chmod(pki.directory().c_str(), 0755);
  chmod(tls.private_key_file().c_str(), 0600);
  const std::string log = absl::StrCat(folder_, "/log");
  const std::string data = absl::StrCat(folder_, "/data");
  const pid_t made = SpawnPostgres(
      {Program("initdb"), "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth-local=trust",
       "--auth-host=scram-sha-256", absl::StrCat("--username=", kUser), data},
      log);
  int status = 0;
  waitpid(made, &status, 0);
  Check(status == 0, Contents(log));
  port_ = FreePort();
  std::ofstream(absl::StrCat(data, "/postgresql.conf"), std::ios::app)
      << "listen_addresses = '127.0.0.1,127.0.0.2'\nport = " << port_
      << "\nunix_socket_directories = '" << folder_ << "'\nssl = on\nssl_cert_file = '"
      << tls.certificate_file() << "'\nssl_key_file = '" << tls.private_key_file()
      << "'\nmax_connections = 50\n"
      << settings << "\n";
  Start();
}

TestServer::~TestServer() {
  if (pid_ > 0) Kill();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void TestServer::Start() {
  pid_ = SpawnPostgres({Program("postgres"), "-D", absl::StrCat(folder_, "/data")},
                       absl::StrCat(folder_, "/log"));
  const Server server{
      .hosts = {absl::StrCat(folder_, ":", port_)}, .database = "postgres", .user = kUser};
  const absl::Time deadline = absl::Now() + kStartTime;
  while (!Connection::Open(server).ok()) {
    Check(absl::Now() < deadline && waitpid(pid_, nullptr, WNOHANG) == 0,
          Contents(absl::StrCat(folder_, "/log")));
    std::this_thread::yield();
  }
}

void TestServer::Kill() {
  Check(pid_ > 0, "not running");
  kill(pid_, SIGQUIT);
  kill(pid_, SIGCONT);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void TestServer::Stop() {
  // The postmaster first: then no children come or go.
  Suspend(pid_);
  for (const pid_t child : Children(pid_)) Suspend(child);
}

void TestServer::StopListening() { Suspend(pid_); }

void TestServer::Continue() {
  Check(pid_ > 0, "not running");
  for (const pid_t child : Children(pid_)) kill(child, SIGCONT);
  kill(pid_, SIGCONT);
}

Server TestServer::NewDatabase() {
  static int count = 0;
  const std::string name = absl::StrCat("test_", getpid(), "_", ++count);
  Administer(absl::StrCat("CREATE ROLE ", name, " LOGIN PASSWORD 'secret of ", name, "'"));
  Administer(absl::StrCat("CREATE DATABASE ", name, " OWNER ", name));
  Administer(absl::StrCat("REVOKE ALL ON DATABASE ", name, " FROM PUBLIC"));
  const std::string password_file = absl::StrCat(folder_, "/password-", name);
  std::ofstream(password_file) << "secret of " << name << "\n";
  return {.hosts = {absl::StrCat(folder_, ":", port_)},
          .database = name,
          .user = name,
          .password_file = password_file,
          .application = "test"};
}

config::v1::PostgreSql TestServer::Config(const Server& server) {
  config::v1::PostgreSql config;
  config.mutable_hosts()->Assign(server.hosts.begin(), server.hosts.end());
  config.set_database(server.database);
  config.set_user(server.user);
  config.set_password_file(server.password_file);
  return config;
}

Server TestServer::OverTls(Server server) const {
  server.hosts = {absl::StrCat("127.0.0.1:", port_)};
  server.ca_file = absl::StrCat(folder_, "/pki/ca.pem");
  return server;
}

void TestServer::Administer(absl::string_view sql, absl::string_view database) {
  absl::StatusOr<std::unique_ptr<Connection>> connection =
      Connection::Open({.hosts = {absl::StrCat(folder_, ":", port_)},
                        .database = std::string(database),
                        .user = kUser});
  Check(connection.ok(), connection.status().ToString());
  const absl::Status status = (*connection)->Execute(sql);
  Check(status.ok(), absl::StrCat(sql, ": ", status.ToString()));
}

absl::Status PartitionByShard(Connection& connection) { return connection.Execute(kPartition); }

}  // namespace postern::storage::postgresql
