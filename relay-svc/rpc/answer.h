// Coroutines behind gRPC's callback API.
#ifndef POSTERN_RELAY_SVC_RPC_ANSWER_H_
#define POSTERN_RELAY_SVC_RPC_ANSWER_H_

#include <algorithm>
#include <exception>
#include <utility>

#include "absl/status/statusor.h"
#include "boost/asio/awaitable.hpp"
#include "boost/asio/co_spawn.hpp"
#include "boost/asio/thread_pool.hpp"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "relay-svc/domain/submitter.h"
#include "services/rpc/context.h"

namespace postern::relay {

// A call without a deadline of its own gets this one.
inline constexpr absl::Duration kLongestCall = absl::Minutes(10);

inline Caller CallerOf(const grpc::CallbackServerContext& context) {
  Caller caller{rpc::CallerIdentity(context), rpc::ReadCallContext(context)};
  caller.call.deadline = std::min(caller.call.deadline, absl::Now() + kLongestCall);
  return caller;
}

// Runs `answer` on the pool and finishes the call with it. The request lives until then.
template <typename Response>
grpc::ServerUnaryReactor* Answer(boost::asio::thread_pool& pool,
                                 grpc::CallbackServerContext* context, Response* response,
                                 boost::asio::awaitable<absl::StatusOr<Response>> answer) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  boost::asio::co_spawn(
      pool, std::move(answer),
      [reactor, response](std::exception_ptr failure, absl::StatusOr<Response> result) {
        if (failure != nullptr) {
          reactor->Finish(grpc::Status(grpc::StatusCode::INTERNAL, "internal error"));
          return;
        }
        const grpc::Status status = rpc::ToGrpc(result.status());
        if (result.ok()) *response = *std::move(result);
        reactor->Finish(status);
      });
  return reactor;
}

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_RPC_ANSWER_H_
