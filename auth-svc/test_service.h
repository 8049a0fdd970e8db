// auth-svc in the test's own process, on a free port, with everything that it needs in a folder.
#ifndef POSTERN_AUTH_SVC_TEST_SERVICE_H_
#define POSTERN_AUTH_SVC_TEST_SERVICE_H_

#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "proto/postern/config/v1/auth_svc.pb.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/identity/test_pki.h"
#include "services/process/service_main.h"

namespace grpc {
class Channel;
}  // namespace grpc

namespace postern::auth {

// Over mutual TLS, with a token key of its own; hashes are as cheap as may be. Aborts when anything
// fails.
class TestService {
 public:
  // In a SQLite file of its own, or in this database, whose schema is there.
  explicit TestService(const config::v1::PostgreSql* postgresql = nullptr);
  ~TestService();

  // With this identity's certificate; one connection for each identity. Any thread.
  std::shared_ptr<grpc::Channel> Connect(absl::string_view identity);

  int port() const;
  const identity::TestPki& pki() const { return pki_; }
  const std::string& folder() const { return folder_; }
  std::string public_key_file() const { return folder_ + "/token.pub"; }

 private:
  void WriteTokenKey() const;

  const std::string folder_;
  const identity::TestPki pki_;
  config::v1::AuthSvc config_;
  std::unique_ptr<process::RunningService> service_;
  absl::Mutex mutex_;
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_TEST_SERVICE_H_
