#include <memory>
#include <optional>
#include <utility>

#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "proto/postern/store/v1/delivery.grpc.pb.h"
#include "services/clients/body_upload.h"
#include "services/clients/delivery_outbox.h"
#include "services/clients/store_client.h"
#include "services/clients/unary_call.h"

namespace postern::clients {

namespace {

using store::v1::CheckQuotaRequest;
using store::v1::CheckQuotaResponse;
using store::v1::DeliverRequest;
using store::v1::DeliverResponse;
using store::v1::DeliverStreamRequest;
using store::v1::DeliveryHeader;
using store::v1::DeliveryService;

class GrpcDeliveryClient : public DeliveryClient {
 public:
  GrpcDeliveryClient(const std::shared_ptr<grpc::Channel>& channel, SmallBodies small_bodies)
      : stub_(DeliveryService::NewStub(channel)) {
    if (small_bodies == SmallBodies::kOpenCall) outbox_.emplace(stub_);
  }

  void Deliver(const rpc::CallContext& call, DeliverRequest request,
               async::Done<DeliverResponse> done) override {
    if (outbox_.has_value()) {
      outbox_->Deliver(call, std::move(request), std::move(done));
      return;
    }
    static const auto& metrics = *new MethodMetrics("postern.store.v1.DeliveryService/Deliver");
    RunUnaryCall(
        metrics, OnUnavailable::kRepeat, call, std::move(request),
        [stub = stub_](auto* context, auto* to, auto* answer, auto on_done) {
          stub->async()->Deliver(context, to, answer, std::move(on_done));
        },
        std::move(done));
  }

  std::unique_ptr<BodyStream<DeliverResponse>> DeliverStream(const rpc::CallContext& call,
                                                             DeliveryHeader header) override {
    DeliverStreamRequest first;
    *first.mutable_header() = std::move(header);
    return std::make_unique<BodyUpload<DeliverStreamRequest, DeliverResponse>>(
        call, std::move(first), [stub = stub_](auto* context, auto* answer, auto* reactor) {
          stub->async()->DeliverStream(context, answer, reactor);
        });
  }

  void CheckQuota(const rpc::CallContext& call, CheckQuotaRequest request,
                  async::Done<CheckQuotaResponse> done) override {
    static const auto& metrics = *new MethodMetrics("postern.store.v1.DeliveryService/CheckQuota");
    RunUnaryCall(
        metrics, OnUnavailable::kRepeat, call, std::move(request),
        [stub = stub_](auto* context, auto* to, auto* answer, auto on_done) {
          stub->async()->CheckQuota(context, to, answer, std::move(on_done));
        },
        std::move(done));
  }

 private:
  const std::shared_ptr<DeliveryService::Stub> stub_;
  std::optional<DeliveryOutbox> outbox_;
};

}  // namespace

std::unique_ptr<DeliveryClient> MakeDeliveryClient(std::shared_ptr<grpc::Channel> channel,
                                                   SmallBodies small_bodies) {
  return std::make_unique<GrpcDeliveryClient>(channel, small_bodies);
}

}  // namespace postern::clients
