#include "store-svc/rpc/maildrop_service.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "proto/postern/store/v1/maildrop.grpc.pb.h"
#include "services/rpc/context.h"
#include "services/telemetry/log.h"
#include "store-svc/rpc/maildrop_open.h"
#include "store-svc/rpc/maildrop_retrieve.h"
#include "store-svc/rpc/store_metrics.h"

namespace postern::store {
namespace {

// Far more than there are sessions: the gateways limit those.
constexpr size_t kMaxOpenStreams = 100000;

class MaildropService final : public v1::MaildropService::CallbackService {
 public:
  MaildropService(const MaildropParts* parts, OpenStreams* streams)
      : parts_(*parts), streams_(streams) {}

  grpc::ServerBidiReactor<v1::OpenRequest, v1::OpenResponse>* Open(
      grpc::CallbackServerContext* context) override {
    return new OpenStream(&parts_, streams_, context);
  }

  grpc::ServerWriteReactor<v1::RetrieveResponse>* Retrieve(
      grpc::CallbackServerContext* context, const v1::RetrieveRequest* request) override {
    return new RetrieveStream(&parts_, context, request);
  }

  grpc::ServerUnaryReactor* Commit(grpc::CallbackServerContext* context,
                                   const v1::CommitRequest* request, v1::CommitResponse*) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    parts_.leases->Pin(
        request->fence(), Credential(*context, request->token(), request->session_nonce()),
        [&] {
          return VerifyToken(parts_, *context, request->token(), request->session_nonce(),
                             Expiry::kMindsNot);
        },
        [this, context, request, reactor](absl::StatusOr<MailboxId> mailbox) {
          if (mailbox.ok()) {
            Delete(*context, *request, *mailbox, reactor);
          } else {
            reactor->Finish(rpc::ToGrpc(AnswerToRefused(
                parts_, *context, request->token(), request->session_nonce(), mailbox.status())));
          }
        });
    return reactor;
  }

 private:
  // Its lease is pinned.
  void Delete(const grpc::CallbackServerContext& context, const v1::CommitRequest& request,
              const MailboxId& mailbox, grpc::ServerUnaryReactor* reactor) {
    const uint64_t fence = request.fence();
    if (request.deleted_uids().empty()) {
      parts_.leases->Unpin(fence);
      reactor->Finish(grpc::Status::OK);
      return;
    }
    std::vector<uint64_t> uids(request.deleted_uids().begin(), request.deleted_uids().end());
    parts_.store->Delete(mailbox, fence, std::move(uids),
                         [this, reactor, fence, count = request.deleted_uids_size(),
                          call = rpc::ReadCallContext(context)](absl::Status status) {
                           if (status.ok()) Metrics().deletions.Add(count);
                           if (!status.ok()) {
                             telemetry::Log(
                                 telemetry::LogLevel::kWarning, "deletions failed",
                                 {{"trace", call.trace.trace_id}, {"status", status.ToString()}});
                           }
                           parts_.leases->Unpin(fence);
                           reactor->Finish(rpc::ToGrpc(status));
                         });
  }

  const MaildropParts& parts_;
  OpenStreams* const streams_;
};

}  // namespace

MaildropServer::MaildropServer(MaildropParts parts)
    : parts_(std::move(parts)),
      streams_(std::make_unique<OpenStreams>(kMaxOpenStreams)),
      service_(std::make_unique<MaildropService>(&parts_, streams_.get())) {}

MaildropServer::~MaildropServer() = default;

grpc::Service* MaildropServer::service() { return service_.get(); }

void MaildropServer::EndStreams() { streams_->EndAll(); }

}  // namespace postern::store
