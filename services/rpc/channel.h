// The caller's end of a gRPC hop over mutual TLS 1.3.
#ifndef POSTERN_SERVICES_RPC_CHANNEL_H_
#define POSTERN_SERVICES_RPC_CHANNEL_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace grpc {
class Channel;
}  // namespace grpc

namespace postern::config::v1 {
class MutualTls;
class RpcTarget;
}  // namespace postern::config::v1

namespace postern::rpc {

// A channel to the service with identity `server_identity`: a server with any other certificate is
// refused. Connects lazily and for ever; keeps the connection warm.
absl::StatusOr<std::shared_ptr<grpc::Channel>> ConnectTo(const config::v1::RpcTarget& target,
                                                         const config::v1::MutualTls& tls,
                                                         absl::string_view server_identity);

}  // namespace postern::rpc

#endif  // POSTERN_SERVICES_RPC_CHANNEL_H_
