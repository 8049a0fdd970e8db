// The real store-svc as a process, for tests.
#ifndef POSTERN_STORE_SVC_TESTING_STORE_PROCESS_H_
#define POSTERN_STORE_SVC_TESTING_STORE_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "proto/postern/config/v1/process.pb.h"
#include "proto/postern/token/v1/token.pb.h"

namespace postern::store {

// Whether the tests of this program run on PostgreSQL: the environment says so, to run one suite on
// both databases.
bool OnPostgresql();

// One database with its CA and token key; the process over it can be killed and started again.
// One thread.
class StoreProcess {
 public:
  // `settings`: further lines of the configuration.
  explicit StoreProcess(absl::string_view settings = "");
  // A replica on the same PostgreSQL database, with the same keys.
  StoreProcess(const StoreProcess& like, absl::string_view settings);
  // Kills it.
  ~StoreProcess();

  // Until it is ready.
  void Start();
  void Kill();
  void Terminate();
  // SIGSTOP, SIGCONT.
  void Stop();
  void Continue();
  // The exit code; -1 when a signal ended it.
  int Wait();

  int port() const { return port_; }
  // SQL on the database, beside the process: for both databases, or whichever it is.
  void Execute(absl::string_view sql) const;
  int64_t Number(absl::string_view sql) const;
  std::string config_file() const { return folder_ + "/config.yaml"; }
  std::string log() const;

  // As that identity, over a connection of its own; to `port` instead of the process's when not 0.
  std::shared_ptr<grpc::Channel> Connect(absl::string_view identity, int port = 0);

  // For the pop3 gateway, good for an hour.
  token::v1::Claims MakeClaims(absl::string_view mailbox_id, absl::string_view session_nonce) const;
  std::string Sign(const token::v1::Claims& claims) const;

 private:
  // What replicas share.
  struct Deployment;

  StoreProcess(std::shared_ptr<Deployment> deployment, absl::string_view settings);
  const config::v1::MutualTls& Identity(absl::string_view identity);
  void Signal(int signal) const;
  // The program with these arguments; its process.
  void Spawn(std::vector<std::string> arguments);

  const std::shared_ptr<Deployment> deployment_;
  const std::string folder_;
  pid_t pid_ = -1;
  int port_ = 0;
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_TESTING_STORE_PROCESS_H_
