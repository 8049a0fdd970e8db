// A unary call over gRPC's callback API: one object from start to answer, the request moved in and
// serialized from where it lies.
#ifndef POSTERN_SERVICES_CLIENTS_UNARY_CALL_H_
#define POSTERN_SERVICES_CLIENTS_UNARY_CALL_H_

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/status.h"
#include "services/async/done.h"
#include "services/clients/method_metrics.h"
#include "services/rpc/call_context.h"
#include "services/rpc/context.h"
#include "services/rpc/retry.h"

namespace postern::clients {

enum class OnUnavailable { kRepeat, kFail };

// Owns itself: deleted before `done` runs. Start is called as start(context, request, response,
// on_done) for each attempt and keeps the stub alive.
template <typename Request, typename Response, typename Start>
class UnaryCall {
 public:
  static void Run(const MethodMetrics& metrics, OnUnavailable on_unavailable,
                  const rpc::CallContext& call, Request request, Start start,
                  async::Done<Response> done) {
    auto* self = new UnaryCall(metrics, on_unavailable, call, std::move(request), std::move(start),
                               std::move(done));
    self->Attempt();
  }

 private:
  UnaryCall(const MethodMetrics& metrics, OnUnavailable on_unavailable,
            const rpc::CallContext& call, Request request, Start start, async::Done<Response> done)
      : metrics_(metrics),
        on_unavailable_(on_unavailable),
        call_(rpc::WithDeadline(call)),
        request_(std::move(request)),
        start_(std::move(start)),
        done_(std::move(done)) {}

  void Attempt() {
    context_.emplace();
    rpc::WriteCallContext(repetitions_.Begin(call_), &*context_);
    start_(&*context_, &request_, &response_,
           [this](const grpc::Status& status) { OnAnswer(status); });
  }

  void OnAnswer(const grpc::Status& status) {
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE &&
        on_unavailable_ == OnUnavailable::kRepeat) {
      if (const std::optional<absl::Duration> delay = repetitions_.Next(call_)) {
        metrics_.repetitions.Add();
        rpc::RunAfter(*delay, [this] { Attempt(); });
        return;
      }
    }
    metrics_.seconds.Observe(absl::ToDoubleSeconds(absl::Now() - repetitions_.begun()));
    if (!status.ok()) metrics_.failures.Add();
    absl::StatusOr<Response> result = status.ok() ? absl::StatusOr<Response>(std::move(response_))
                                                  : absl::StatusOr<Response>(rpc::FromGrpc(status));
    async::Done<Response> done = std::move(done_);
    delete this;
    done(std::move(result));
  }

  const MethodMetrics& metrics_;
  const OnUnavailable on_unavailable_;
  const rpc::CallContext call_;
  const Request request_;
  Start start_;
  async::Done<Response> done_;
  rpc::Repetitions repetitions_;
  Response response_;
  std::optional<grpc::ClientContext> context_;
};

template <typename Request, typename Response, typename Start>
void RunUnaryCall(const MethodMetrics& metrics, OnUnavailable on_unavailable,
                  const rpc::CallContext& call, Request request, Start start,
                  async::Done<Response> done) {
  UnaryCall<Request, Response, Start>::Run(metrics, on_unavailable, call, std::move(request),
                                           std::move(start), std::move(done));
}

}  // namespace postern::clients

#endif  // POSTERN_SERVICES_CLIENTS_UNARY_CALL_H_
