// A real Redis for tests: Debian's, with TLS and an ACL, in a folder of its own.
#ifndef POSTERN_SERVICES_STORAGE_REDIS_TESTING_TEST_SERVER_H_
#define POSTERN_SERVICES_STORAGE_REDIS_TESTING_TEST_SERVER_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/identity/test_pki.h"
#include "services/storage/redis/connection.h"
#include "services/storage/redis/reply.h"

namespace postern::storage::redis {

// Aborts when it can't be started: no test means anything then. Two users: "postern", who may do
// what a service needs, and "default", who may do everything.
class TestServer {
 public:
  enum class Kind { kServer, kSentinel };

  // `settings`: further lines of redis.conf.
  explicit TestServer(absl::string_view settings = "", Kind kind = Kind::kServer);
  ~TestServer();
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  // Waits until it takes connections.
  void Start();
  void Kill();
  void Stop();
  void Continue();

  // How a service is told of it.
  config::v1::Redis Config() const;
  // As "default"; an error is a reply.
  Reply Do(const Command& command) const;

  int port() const { return port_; }
  std::string address() const;
  const std::string& folder() const { return folder_; }
  // What signs the certificates of all of them.
  static const identity::TestPki& Pki();
  // Of "default".
  static std::string AdminPassword() { return "of the administrator"; }

 private:
  absl::StatusOr<Reply> Try(const Command& command) const;

  const Kind kind_;
  std::string folder_;
  int port_ = 0;
  pid_t pid_ = -1;
};

}  // namespace postern::storage::redis

#endif  // POSTERN_SERVICES_STORAGE_REDIS_TESTING_TEST_SERVER_H_
