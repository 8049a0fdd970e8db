// The real store-svc as a process, for tests.
#ifndef POSTERN_STORE_SVC_TESTING_STORE_PROCESS_H_
#define POSTERN_STORE_SVC_TESTING_STORE_PROCESS_H_

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "proto/postern/config/v1/process.pb.h"
#include "proto/postern/token/v1/token.pb.h"
#include "services/identity/test_pki.h"
#include "services/identity/token.h"

namespace postern::store {

// One data folder with its CA and token key; the process over it can be killed and started again.
// One thread.
class StoreProcess {
 public:
  // `settings`: further lines of the configuration.
  explicit StoreProcess(absl::string_view settings = "");
  // Kills it.
  ~StoreProcess();

  // Until it is ready.
  void Start();
  void Kill();
  void Terminate();
  // The exit code; -1 when a signal ended it.
  int Wait();

  int port() const { return port_; }
  std::string database_file() const { return folder_ + "/mail.db"; }
  std::string config_file() const { return folder_ + "/config.yaml"; }
  std::string log() const;

  // As that identity, over a connection of its own; to `port` instead of the process's when not 0.
  std::shared_ptr<grpc::Channel> Connect(absl::string_view identity, int port = 0);

  // For the pop3 gateway, good for an hour.
  token::v1::Claims MakeClaims(absl::string_view mailbox_id, absl::string_view session_nonce) const;
  std::string Sign(const token::v1::Claims& claims) const { return signer_->Sign(claims); }

 private:
  config::v1::MutualTls Identity(absl::string_view identity);
  void Signal(int signal) const;

  const std::string folder_;
  const identity::TestPki pki_;
  std::map<std::string, config::v1::MutualTls> identities_;
  std::unique_ptr<identity::TokenSigner> signer_;
  pid_t pid_ = -1;
  int port_ = 0;
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_TESTING_STORE_PROCESS_H_
