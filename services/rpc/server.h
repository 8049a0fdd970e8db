// A gRPC server over mutual TLS 1.3. The certificate's URI SAN `spiffe://postern/<identity>` says
// who calls; services/identity/access.h says what they may call; everything else gets
// PERMISSION_DENIED before a handler sees it. Certificates are read again when their files change,
// without dropping connections.
#ifndef POSTERN_SERVICES_RPC_SERVER_H_
#define POSTERN_SERVICES_RPC_SERVER_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace grpc {
class Server;
class Service;
}  // namespace grpc

namespace postern::config::v1 {
class MutualTls;
class RpcListener;
}  // namespace postern::config::v1

namespace postern::rpc {

// A running gRPC server. Owns nothing of the services, which must outlive it.
class RpcServer {
 public:
  // Binds and serves. Errors: INVALID_ARGUMENT names the file or address at fault.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(
      const config::v1::RpcListener& listener, const config::v1::MutualTls& tls,
      const std::vector<grpc::Service*>& services);
  ~RpcServer();

  int port() const { return port_; }

  // No new calls; running ones may finish until `grace` has passed, then they are cancelled.
  // Blocks.
  void Drain(absl::Duration grace);

 private:
  RpcServer();
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace postern::rpc

#endif  // POSTERN_SERVICES_RPC_SERVER_H_
