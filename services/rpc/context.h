// What our code sees of gRPC's contexts and statuses.
#ifndef POSTERN_SERVICES_RPC_CONTEXT_H_
#define POSTERN_SERVICES_RPC_CONTEXT_H_

#include <string>

#include "absl/status/status.h"
#include "services/rpc/call_context.h"

namespace grpc {
class CallbackServerContext;
class ClientContext;
class Status;
}  // namespace grpc

namespace postern::rpc {

// The caller's identity; "" when it has none. Only for calls that RpcServer let through.
std::string CallerIdentity(const grpc::CallbackServerContext& context);

// Server side: trace and deadline of a call.
CallContext ReadCallContext(const grpc::CallbackServerContext& context);
// Client side: puts trace and deadline on a call.
void WriteCallContext(const CallContext& call, grpc::ClientContext* context);

// The codes are the same; messages cross as they are, and with them the first payload.
grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace postern::rpc

#endif  // POSTERN_SERVICES_RPC_CONTEXT_H_
