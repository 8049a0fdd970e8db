// Where an identity provider publishes its keys: HTTPS on loopback, for tests.
#ifndef POSTERN_AUTH_SVC_OAUTH_TESTING_TEST_ISSUER_H_
#define POSTERN_AUTH_SVC_OAUTH_TESTING_TEST_ISSUER_H_

#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "services/identity/test_pki.h"

namespace postern::auth::oauth {

// One connection at a time, one request each. Any thread may use it.
class TestIssuer {
 public:
  TestIssuer();
  ~TestIssuer();
  TestIssuer(const TestIssuer&) = delete;
  TestIssuer& operator=(const TestIssuer&) = delete;

  // By address, which is in its certificate, or by `host`.
  std::string url(const std::string& host = "127.0.0.1") const;
  // What signed the certificate.
  std::string ca_file() const;

  // What every request gets from now on; `status_line` is "200 OK" or the like, with any headers
  // behind it.
  void Answer(const std::string& body, const std::string& status_line = "200 OK");
  // Connections are closed without an answer, or again not.
  void BeAway(bool away);
  // Connections are accepted and get no answer, or again do.
  void Hang(bool hangs);
  // Connections that came.
  int asked() const;

 private:
  struct Server;

  void Run();

  const std::unique_ptr<Server> server_;
  mutable absl::Mutex mutex_;
  std::string body_ ABSL_GUARDED_BY(mutex_);
  std::string status_line_ ABSL_GUARDED_BY(mutex_) = "200 OK";
  bool away_ ABSL_GUARDED_BY(mutex_) = false;
  bool hangs_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int asked_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace postern::auth::oauth

#endif  // POSTERN_AUTH_SVC_OAUTH_TESTING_TEST_ISSUER_H_
