#include "store-svc/rpc/delivery_service.h"

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "proto/postern/store/v1/delivery.grpc.pb.h"
#include "services/platform/rpc.h"
#include "store-svc/rpc/delivery_outcome.h"
#include "store-svc/rpc/delivery_request.h"
#include "store-svc/rpc/delivery_stream.h"

namespace postern::store {
namespace {

constexpr int kMaxQuotaQuestions = 1000;
// Each holds up to three pieces of 256 KiB.
constexpr int kMaxStreams = 256;

class DeliveryService final : public v1::DeliveryService::CallbackService {
 public:
  DeliveryService(MailStore* store, platform::WorkerPool* pool,
                  const DeliveryServiceOptions& options)
      : store_(store), pool_(pool), options_(options) {}

  grpc::ServerUnaryReactor* Deliver(grpc::CallbackServerContext* context,
                                    const v1::DeliverRequest* request,
                                    v1::DeliverResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    absl::StatusOr<Delivery> delivery = ParseDeliveryHeader(request->header());
    if (delivery.ok() && request->body().size() > kMaxPieceOctets) {
      delivery = absl::InvalidArgumentError("a body over 256 KiB is streamed");
    }
    if (delivery.ok() && request->body().size() > options_.max_message_octets) {
      delivery = absl::InvalidArgumentError("the message is too large");
    }
    platform::CallContext call = platform::ReadCallContext(*context);
    const size_t octets = request->body().size();
    if (!delivery.ok()) {
      RecordDelivery(call, delivery.status(), request->header().recipients_size(), octets);
      reactor->Finish(platform::ToGrpc(delivery.status()));
      return reactor;
    }
    const size_t recipients = delivery->recipients.size();
    store_->Deliver(*std::move(delivery), request->body(),
                    [reactor, response, recipients, octets,
                     call = std::move(call)](absl::StatusOr<DeliveryResult> result) {
                      if (result.ok()) response->set_repeated_delivery(result->repeated);
                      RecordDelivery(call, result, recipients, octets);
                      reactor->Finish(platform::ToGrpc(result.status()));
                    });
    return reactor;
  }

  grpc::ServerReadReactor<v1::DeliverStreamRequest>* DeliverStream(
      grpc::CallbackServerContext* context, v1::DeliverResponse* response) override {
    if (++streams_ > kMaxStreams) {
      --streams_;
      return new Refusal(absl::UnavailableError("too many large messages are on their way"));
    }
    return new DeliveryStream(store_, options_.max_message_octets, &streams_, context, response);
  }

  grpc::ServerUnaryReactor* CheckQuota(grpc::CallbackServerContext* context,
                                       const v1::CheckQuotaRequest* request,
                                       v1::CheckQuotaResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    if (request->mailbox_ids_size() > kMaxQuotaQuestions) {
      reactor->Finish(platform::ToGrpc(absl::InvalidArgumentError("at most 1000 mailboxes")));
      return reactor;
    }
    std::vector<MailboxId> ids;
    for (const std::string& text : request->mailbox_ids()) {
      absl::StatusOr<MailboxId> id = MailboxId::Parse(text);
      if (!id.ok()) {
        reactor->Finish(platform::ToGrpc(id.status()));
        return reactor;
      }
      ids.push_back(*std::move(id));
    }
    const bool accepted = pool_->Submit([this, reactor, response, ids = std::move(ids)] {
      absl::StatusOr<std::vector<MailboxId>> full = store_->FindFull(ids);
      if (full.ok()) {
        for (const MailboxId& id : *full) response->add_full_mailbox_ids(id.ToString());
      }
      reactor->Finish(platform::ToGrpc(full.status()));
    });
    if (!accepted) {
      reactor->Finish(platform::ToGrpc(absl::UnavailableError("too many reads wait")));
    }
    return reactor;
  }

 private:
  class Refusal final : public grpc::ServerReadReactor<v1::DeliverStreamRequest> {
   public:
    explicit Refusal(const absl::Status& status) { Finish(platform::ToGrpc(status)); }
    void OnDone() override { delete this; }
  };

  MailStore* const store_;
  platform::WorkerPool* const pool_;
  const DeliveryServiceOptions options_;
  std::atomic<int> streams_ = 0;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeDeliveryService(MailStore* store, platform::WorkerPool* pool,
                                                   const DeliveryServiceOptions& options) {
  return std::make_unique<DeliveryService>(store, pool, options);
}

}  // namespace postern::store
