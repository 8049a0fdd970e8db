// gRPC over mutual TLS 1.3, both ends. The certificate's URI SAN `spiffe://postern/<identity>` says
// who calls; access.h says what they may call; everything else gets PERMISSION_DENIED before a
// handler sees it. Certificates are read again when their files change, without dropping
// connections.
#ifndef POSTERN_SERVICES_PLATFORM_RPC_H_
#define POSTERN_SERVICES_PLATFORM_RPC_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/platform/call_context.h"

namespace grpc {
class CallbackServerContext;
class Channel;
class ClientContext;
class Server;
class Service;
class Status;
}  // namespace grpc

namespace postern::config::v1 {
class MutualTls;
class RpcListener;
class RpcTarget;
}  // namespace postern::config::v1

namespace postern::platform {

// The largest message either end takes: a body of 256 KiB with its envelope (100 recipients and
// more).
inline constexpr int kMaxRpcMessageOctets = 1 << 20;
// The largest piece of a body in one message.
inline constexpr int kMaxChunkOctets = 256 << 10;

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

// A channel to the service with identity `server_identity`: a server with any other certificate is
// refused. Connects lazily and for ever; keeps the connection warm.
absl::StatusOr<std::shared_ptr<grpc::Channel>> ConnectTo(const config::v1::RpcTarget& target,
                                                         const config::v1::MutualTls& tls,
                                                         absl::string_view server_identity);

// The caller's identity; "" when it has none. Only for calls that RpcServer let through.
std::string CallerIdentity(const grpc::CallbackServerContext& context);

// Server side: trace and deadline of a call.
CallContext ReadCallContext(const grpc::CallbackServerContext& context);
// Client side: puts trace and deadline on a call.
void WriteCallContext(const CallContext& call, grpc::ClientContext* context);

// The codes are the same; messages cross as they are.
grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace postern::platform

#endif  // POSTERN_SERVICES_PLATFORM_RPC_H_
