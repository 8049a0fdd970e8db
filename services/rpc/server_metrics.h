// Counts and times every call that a server answers.
#ifndef POSTERN_SERVICES_RPC_SERVER_METRICS_H_
#define POSTERN_SERVICES_RPC_SERVER_METRICS_H_

#include <memory>

#include "grpcpp/support/server_interceptor.h"

namespace postern::rpc {

// postern_rpc_server_calls_total{service,method,code}, postern_rpc_server_seconds{service,method}:
// of a stream, its whole life. Labels come from registered methods alone.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeRpcMetrics();

}  // namespace postern::rpc

#endif  // POSTERN_SERVICES_RPC_SERVER_METRICS_H_
