#include "store-svc/rpc/delivery_service.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "proto/postern/store/v1/delivery.grpc.pb.h"
#include "services/rpc/context.h"
#include "services/rpc/limits.h"
#include "store-svc/rpc/caller_slots.h"
#include "store-svc/rpc/deliver_many.h"
#include "store-svc/rpc/delivery_stream.h"
#include "store-svc/rpc/small_delivery.h"

namespace postern::store {
namespace {

// Of one caller; each holds up to three pieces of 256 KiB.
constexpr int kMaxStreams = 128;
// One or two for each gateway; each holds up to 3 MiB.
constexpr size_t kMaxManyCalls = 256;

class DeliveryService final : public v1::DeliveryService::CallbackService {
 public:
  DeliveryService(MailStore* store, process::WorkerPool* pool,
                  const DeliveryServiceOptions& options, DeliverManyCalls* calls)
      : store_(store), pool_(pool), options_(options), calls_(calls) {}

  grpc::ServerUnaryReactor* Deliver(grpc::CallbackServerContext* context,
                                    const v1::DeliverRequest* request,
                                    v1::DeliverResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    DeliverSmall(store_, options_.max_message_octets, *request, rpc::ReadCallContext(*context),
                 [reactor, response](absl::StatusOr<DeliveryResult> result) {
                   if (result.ok()) response->set_repeated_delivery(result->repeated);
                   reactor->Finish(rpc::ToGrpc(result.status()));
                 });
    return reactor;
  }

  grpc::ServerReadReactor<v1::DeliverStreamRequest>* DeliverStream(
      grpc::CallbackServerContext* context, v1::DeliverResponse* response) override {
    std::string caller = rpc::CallerIdentity(*context);
    if (!slots_.Take(caller)) {
      return new RefusedStream(absl::UnavailableError("too many large messages are on their way"));
    }
    return new DeliveryStream(store_, options_.max_message_octets, &slots_, std::move(caller),
                              context, response);
  }

  grpc::ServerBidiReactor<v1::DeliverManyRequest, v1::DeliverManyResponse>* DeliverMany(
      grpc::CallbackServerContext* /*context*/) override {
    return new DeliverManyCall(store_, options_.max_message_octets, calls_);
  }

  grpc::ServerUnaryReactor* CheckQuota(grpc::CallbackServerContext* context,
                                       const v1::CheckQuotaRequest* request,
                                       v1::CheckQuotaResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    if (request->mailbox_ids_size() > rpc::kMaxMailboxes) {
      reactor->Finish(rpc::ToGrpc(
          absl::InvalidArgumentError(absl::StrCat("at most ", rpc::kMaxMailboxes, " mailboxes"))));
      return reactor;
    }
    std::vector<MailboxId> ids;
    for (const std::string& text : request->mailbox_ids()) {
      absl::StatusOr<MailboxId> id = MailboxId::Parse(text);
      if (!id.ok()) {
        reactor->Finish(rpc::ToGrpc(id.status()));
        return reactor;
      }
      ids.push_back(*std::move(id));
    }
    process::RunOn<absl::Status>(
        *pool_,
        [this, response, ids = std::move(ids)] {
          absl::StatusOr<std::vector<MailboxId>> full = store_->FindFull(ids);
          if (full.ok()) {
            for (const MailboxId& id : *full) response->add_full_mailbox_ids(id.ToString());
          }
          return full.status();
        },
        [reactor](const absl::Status& status) { reactor->Finish(rpc::ToGrpc(status)); },
        absl::UnavailableError("too many reads wait"));
    return reactor;
  }

 private:
  // Ends before it has read anything.
  class RefusedStream final : public grpc::ServerReadReactor<v1::DeliverStreamRequest> {
   public:
    explicit RefusedStream(const absl::Status& status) { Finish(rpc::ToGrpc(status)); }
    void OnDone() override { delete this; }
  };

  MailStore* const store_;
  process::WorkerPool* const pool_;
  const DeliveryServiceOptions options_;
  DeliverManyCalls* const calls_;
  CallerSlots slots_{kMaxStreams};
};

}  // namespace

DeliveryServer::DeliveryServer(MailStore* store, process::WorkerPool* pool,
                               const DeliveryServiceOptions& options)
    : streams_(std::make_unique<DeliverManyCalls>(kMaxManyCalls)),
      service_(std::make_unique<DeliveryService>(store, pool, options, streams_.get())) {}

DeliveryServer::~DeliveryServer() = default;

grpc::Service* DeliveryServer::service() { return service_.get(); }

void DeliveryServer::EndStreams() { streams_->EndAll(); }

}  // namespace postern::store
