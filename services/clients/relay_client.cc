#include "services/clients/relay_client.h"

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "proto/postern/relay/v1/forwarding.grpc.pb.h"
#include "proto/postern/relay/v1/policy.grpc.pb.h"
#include "proto/postern/relay/v1/submission.grpc.pb.h"
#include "services/clients/body_upload.h"
#include "services/clients/policy_memory.h"
#include "services/clients/unary_call.h"
#include "services/net/client_network.h"
#include "services/telemetry/metrics.h"

namespace postern::clients {

namespace {

using relay::v1::CheckConnectionRequest;
using relay::v1::CheckConnectionResponse;
using relay::v1::CheckRecipientRequest;
using relay::v1::CheckRecipientResponse;
using relay::v1::CheckSenderRequest;
using relay::v1::CheckSenderResponse;
using relay::v1::EnqueueHeader;
using relay::v1::EnqueueRequest;
using relay::v1::EnqueueResponse;
using relay::v1::EnqueueStreamRequest;
using relay::v1::PolicyService;

telemetry::Counter& Remembered(absl::string_view question) {
  return telemetry::GetCounter("postern_policy_remembered_total",
                               "Questions answered from memory, without an RPC.",
                               {{"question", std::string(question)}});
}

class GrpcPolicyClient : public PolicyClient {
 public:
  explicit GrpcPolicyClient(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(PolicyService::NewStub(channel)),
        connections_remembered_(Remembered("connection")),
        recipients_remembered_(Remembered("recipient")) {}

  void CheckConnection(const rpc::CallContext& call, CheckConnectionRequest request,
                       async::Done<CheckConnectionResponse> done) override {
    static const auto& metrics =
        *new MethodMetrics("postern.relay.v1.PolicyService/CheckConnection");
    std::string network = net::NetworkOf(request.client_address());
    if (const auto known =
            memory_->FindConnection(network, &request, std::chrono::steady_clock::now())) {
      connections_remembered_.Add();
      done(*known);
      return;
    }
    RunUnaryCall<CheckConnectionRequest, CheckConnectionResponse>(
        metrics, OnUnavailable::kRepeat, call, std::move(request),
        [stub = stub_](auto* context, auto* to, auto* answer, auto on_done) {
          stub->async()->CheckConnection(context, to, answer, std::move(on_done));
        },
        [memory = memory_, network = std::move(network),
         done = std::move(done)](absl::StatusOr<CheckConnectionResponse> response) mutable {
          if (response.ok()) {
            memory->KeepConnection(network, *response, std::chrono::steady_clock::now());
          }
          done(std::move(response));
        });
  }

  void CheckSender(const rpc::CallContext& call, CheckSenderRequest request,
                   async::Done<CheckSenderResponse> done) override {
    static const auto& metrics = *new MethodMetrics("postern.relay.v1.PolicyService/CheckSender");
    RunUnaryCall(
        metrics, OnUnavailable::kRepeat, call, std::move(request),
        [stub = stub_](auto* context, auto* to, auto* answer, auto on_done) {
          stub->async()->CheckSender(context, to, answer, std::move(on_done));
        },
        std::move(done));
  }

  void CheckRecipient(const rpc::CallContext& call, CheckRecipientRequest request,
                      async::Done<CheckRecipientResponse> done) override {
    static const auto& metrics =
        *new MethodMetrics("postern.relay.v1.PolicyService/CheckRecipient");
    const auto start = [stub = stub_](auto* context, auto* to, auto* answer, auto on_done) {
      stub->async()->CheckRecipient(context, to, answer, std::move(on_done));
    };
    // What a token may do is asked each time.
    if (!request.token().empty()) {
      RunUnaryCall(metrics, OnUnavailable::kRepeat, call, std::move(request), start,
                   std::move(done));
      return;
    }
    // Some addresses are known to the null sender alone.
    std::string recipient =
        absl::StrCat(request.recipient(), request.sender().empty() ? " from <>" : "");
    if (const auto known = memory_->FindRecipient(recipient, std::chrono::steady_clock::now())) {
      recipients_remembered_.Add();
      done(*known);
      return;
    }
    RunUnaryCall<CheckRecipientRequest, CheckRecipientResponse>(
        metrics, OnUnavailable::kRepeat, call, std::move(request), start,
        [memory = memory_, recipient = std::move(recipient),
         done = std::move(done)](absl::StatusOr<CheckRecipientResponse> response) mutable {
          if (response.ok()) {
            memory->KeepRecipient(recipient, *response, std::chrono::steady_clock::now());
          }
          done(std::move(response));
        });
  }

 private:
  const std::shared_ptr<PolicyService::Stub> stub_;
  telemetry::Counter& connections_remembered_;
  telemetry::Counter& recipients_remembered_;
  // Shared with the calls, which may outlive the client.
  const std::shared_ptr<PolicyMemory> memory_ = std::make_shared<PolicyMemory>();
};

struct Submission {
  using Service = relay::v1::SubmissionService;
  static constexpr char kMethod[] = "postern.relay.v1.SubmissionService/Enqueue";
  static constexpr auto kUnary = [](auto* async, auto&&... arguments) {
    async->Enqueue(std::forward<decltype(arguments)>(arguments)...);
  };
  static constexpr auto kStream = [](auto* async, auto&&... arguments) {
    async->EnqueueStream(std::forward<decltype(arguments)>(arguments)...);
  };
};

struct Forwarding {
  using Service = relay::v1::ForwardingService;
  static constexpr char kMethod[] = "postern.relay.v1.ForwardingService/Forward";
  static constexpr auto kUnary = [](auto* async, auto&&... arguments) {
    async->Forward(std::forward<decltype(arguments)>(arguments)...);
  };
  static constexpr auto kStream = [](auto* async, auto&&... arguments) {
    async->ForwardStream(std::forward<decltype(arguments)>(arguments)...);
  };
};

template <typename Role>
class GrpcSubmissionClient : public SubmissionClient {
 public:
  explicit GrpcSubmissionClient(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(Role::Service::NewStub(channel)) {}

  void Enqueue(const rpc::CallContext& call, EnqueueRequest request,
               async::Done<EnqueueResponse> done) override {
    static const auto& metrics = *new MethodMetrics(Role::kMethod);
    RunUnaryCall(
        metrics, OnUnavailable::kRepeat, call, std::move(request),
        [stub = stub_](auto* context, auto* to, auto* answer, auto on_done) {
          Role::kUnary(stub->async(), context, to, answer, std::move(on_done));
        },
        std::move(done));
  }

  std::unique_ptr<BodyStream<EnqueueResponse>> EnqueueStream(const rpc::CallContext& call,
                                                             EnqueueHeader header) override {
    EnqueueStreamRequest first;
    *first.mutable_header() = std::move(header);
    return std::make_unique<BodyUpload<EnqueueStreamRequest, EnqueueResponse>>(
        call, std::move(first), [stub = stub_](auto* context, auto* answer, auto* reactor) {
          Role::kStream(stub->async(), context, answer, reactor);
        });
  }

 private:
  const std::shared_ptr<typename Role::Service::Stub> stub_;
};

}  // namespace

std::unique_ptr<PolicyClient> MakePolicyClient(std::shared_ptr<grpc::Channel> channel) {
  return std::make_unique<GrpcPolicyClient>(channel);
}

std::unique_ptr<SubmissionClient> MakeSubmissionClient(std::shared_ptr<grpc::Channel> channel) {
  return std::make_unique<GrpcSubmissionClient<Submission>>(channel);
}

std::unique_ptr<SubmissionClient> MakeForwardingClient(std::shared_ptr<grpc::Channel> channel) {
  return std::make_unique<GrpcSubmissionClient<Forwarding>>(channel);
}

}  // namespace postern::clients
