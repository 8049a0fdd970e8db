#include "services/storage/redis/testing/test_server.h"

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "boost/asio/co_spawn.hpp"
#include "boost/asio/detached.hpp"
#include "boost/asio/io_context.hpp"
#include "services/storage/redis/node.h"
#include "services/storage/testing/server_process.h"

namespace postern::storage::redis {
namespace {

constexpr absl::Duration kStartTime = absl::Seconds(60);
constexpr std::chrono::seconds kPatience(20);
constexpr char kPassword[] = "of the services";

}  // namespace

// One for all: servers of a test know each other.
const identity::TestPki& TestServer::Pki() {
  static const identity::TestPki& pki =
      *new identity::TestPki(absl::StrCat(std::getenv("TEST_TMPDIR"), "/redis-pki-", getpid()));
  return pki;
}

TestServer::TestServer(absl::string_view settings, Kind kind) : kind_(kind) {
  // As in every process (services/net/connection.h).
  std::signal(SIGPIPE, SIG_IGN);
  folder_ = "/tmp/postern-redis.XXXXXX";
  Check(mkdtemp(folder_.data()) != nullptr, folder_);
  const config::v1::MutualTls tls =
      Pki().Issue("server", {.dns = {"localhost"}, .addresses = {"127.0.0.1"}});
  port_ = FreePort();
  std::ofstream(absl::StrCat(folder_, "/password")) << kPassword << "\n";
  std::ofstream(absl::StrCat(folder_, "/admin-password")) << AdminPassword() << "\n";
  std::ofstream conf(absl::StrCat(folder_, "/redis.conf"));
  conf << "bind 127.0.0.1\nport 0\ntls-port " << port_ << "\ntls-cert-file "
       << tls.certificate_file() << "\ntls-key-file " << tls.private_key_file()
       << "\ntls-ca-cert-file " << Pki().ca_file() << "\ntls-auth-clients optional\n"
       << "tls-replication yes\ndir " << folder_ << "\n";
  if (kind_ == Kind::kServer) {
    conf << "save \"\"\nuser default on \">" << AdminPassword() << "\" ~* &* +@all\n"
         << "user postern on \">" << kPassword
         << "\" ~postern:* resetchannels -@all +ping +role +cluster|slots +asking +get +set +del "
            "+exists +pexpire +time +eval +evalsha\n"
         << "masteruser default\nmasterauth \"" << AdminPassword() << "\"\n";
  }
  conf << settings << "\n";
  conf.close();
  Start();
}

TestServer::~TestServer() {
  if (pid_ > 0) Kill();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void TestServer::Start() {
  const std::string log = absl::StrCat(folder_, "/log");
  std::ofstream(log, std::ios::trunc).close();
  pid_ = Spawn({kind_ == Kind::kSentinel ? "redis-sentinel" : "redis-server",
                absl::StrCat(folder_, "/redis.conf")},
               log, "KILL");
  const absl::Time deadline = absl::Now() + kStartTime;
  const char* const ready =
      kind_ == Kind::kSentinel ? "Sentinel ID is" : "Ready to accept connections";
  while (!absl::StrContains(Contents(log), ready)) {
    Check(absl::Now() < deadline && waitpid(pid_, nullptr, WNOHANG) == 0, Contents(log));
    std::this_thread::yield();
  }
}

void TestServer::Kill() {
  Check(pid_ > 0, "not running");
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void TestServer::Stop() { Suspend(pid_); }

void TestServer::Continue() { kill(pid_, SIGCONT); }

std::string TestServer::address() const { return absl::StrCat("127.0.0.1:", port_); }

config::v1::Redis TestServer::Config() const {
  config::v1::Redis config;
  config.add_addresses(address());
  config.set_username("postern");
  config.set_password_file(absl::StrCat(folder_, "/password"));
  config.set_ca_file(Pki().ca_file());
  return config;
}

Reply TestServer::Do(const Command& command) const {
  absl::StatusOr<Reply> answer;
  const absl::Time deadline = absl::Now() + kStartTime;
  // A server that changes its role cuts its connections.
  do {
    answer = Try(command);
  } while (absl::IsUnavailable(answer.status()) && absl::Now() < deadline);
  if (absl::IsFailedPrecondition(answer.status())) {
    return {.type = Reply::Type::kError, .text = std::string(answer.status().message())};
  }
  Check(answer.ok(), answer.status().ToString());
  return *std::move(answer);
}

absl::StatusOr<Reply> TestServer::Try(const Command& command) const {
  boost::asio::io_context loop(1);
  absl::StatusOr<Reply> answer;
  const Endpoint endpoint{"127.0.0.1", port_};
  const Access access{.password_file = kind_ == Kind::kServer
                                           ? absl::StrCat(folder_, "/admin-password")
                                           : std::string(),
                      .ca_file = Pki().ca_file()};
  boost::asio::co_spawn(
      loop,
      [&]() -> boost::asio::awaitable<void> {
        absl::StatusOr<std::shared_ptr<Connection>> connection = co_await Connection::Open(
            endpoint, access, std::chrono::steady_clock::now() + kPatience);
        if (!connection.ok()) {
          answer = connection.status();
          co_return;
        }
        answer = co_await Ask(**connection, command, kPatience);
        (*connection)->Close(absl::UnavailableError("done"));
      },
      boost::asio::detached);
  loop.run();
  return answer;
}

}  // namespace postern::storage::redis
