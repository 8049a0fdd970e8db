#include "relay-svc/rpc/queue_admin_service.h"

#include <utility>

#include "services/rpc/context.h"
#include "services/telemetry/log.h"

namespace postern::relay {
namespace {

constexpr int kDefaultPage = 100;
constexpr int kMaxPage = 1000;

v1::QueueRecipient::State ToProto(QueueEntry::State state) {
  switch (state) {
    case QueueEntry::State::kWaiting:
      return v1::QueueRecipient::STATE_WAITING;
    case QueueEntry::State::kDelivered:
      return v1::QueueRecipient::STATE_DELIVERED;
    case QueueEntry::State::kFailed:
      return v1::QueueRecipient::STATE_FAILED;
  }
  return v1::QueueRecipient::STATE_UNSPECIFIED;
}

void ToProto(const QueueEntry& entry, v1::QueueEntry* out) {
  out->set_queue_id(entry.message.queue_id);
  out->set_envelope_sender(entry.message.sender);
  out->set_size(entry.message.octets);
  out->set_enqueued_at(absl::ToUnixSeconds(entry.message.enqueued_at));
  out->set_held(entry.held);
  for (const QueueEntry::Recipient& recipient : entry.recipients) {
    v1::QueueRecipient* to = out->add_recipients();
    to->set_address(recipient.address);
    to->set_state(ToProto(recipient.state));
    to->set_attempts(recipient.attempts);
    if (recipient.state == QueueEntry::State::kWaiting) {
      to->set_next_attempt_at(absl::ToUnixSeconds(recipient.next_attempt_at));
    }
    to->set_last_result(recipient.last_result);
  }
}

}  // namespace

async::DoneStatus QueueAdminServiceAdapter::Changed(grpc::ServerUnaryReactor* reactor,
                                                    const char* what, const std::string& queue_id) {
  return [this, reactor, what, queue_id](absl::Status status) {
    if (status.ok()) {
      telemetry::Log(telemetry::LogLevel::kInfo, what, {{"queue_id", queue_id}});
      runner_->Wake();
    }
    reactor->Finish(rpc::ToGrpc(status));
  };
}

grpc::ServerUnaryReactor* QueueAdminServiceAdapter::ListQueue(grpc::CallbackServerContext* context,
                                                              const v1::ListQueueRequest* request,
                                                              v1::ListQueueResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const int page_size = request->page_size() == 0 ? kDefaultPage : request->page_size();
  if (page_size < 1 || page_size > kMaxPage) {
    reactor->Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "page_size: 1 to 1000"));
    return reactor;
  }
  spool_->List(page_size, request->page_token(),
               [reactor, response](absl::StatusOr<QueuePage> page) {
                 if (page.ok()) {
                   for (const QueueEntry& entry : page->entries) {
                     ToProto(entry, response->add_entries());
                   }
                   response->set_next_page_token(page->next_page_token);
                 }
                 reactor->Finish(rpc::ToGrpc(page.status()));
               });
  return reactor;
}

grpc::ServerUnaryReactor* QueueAdminServiceAdapter::GetQueueEntry(
    grpc::CallbackServerContext* context, const v1::GetQueueEntryRequest* request,
    v1::GetQueueEntryResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  spool_->Get(request->queue_id(), [reactor, response](absl::StatusOr<QueueEntry> entry) {
    if (entry.ok()) ToProto(*entry, response->mutable_entry());
    reactor->Finish(rpc::ToGrpc(entry.status()));
  });
  return reactor;
}

grpc::ServerUnaryReactor* QueueAdminServiceAdapter::HoldQueueEntry(
    grpc::CallbackServerContext* context, const v1::HoldQueueEntryRequest* request,
    v1::HoldQueueEntryResponse*) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  spool_->SetHeld(request->queue_id(), true, Changed(reactor, "message held", request->queue_id()));
  return reactor;
}

grpc::ServerUnaryReactor* QueueAdminServiceAdapter::ReleaseQueueEntry(
    grpc::CallbackServerContext* context, const v1::ReleaseQueueEntryRequest* request,
    v1::ReleaseQueueEntryResponse*) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  spool_->SetHeld(request->queue_id(), false,
                  Changed(reactor, "message released", request->queue_id()));
  return reactor;
}

grpc::ServerUnaryReactor* QueueAdminServiceAdapter::RetryQueueEntry(
    grpc::CallbackServerContext* context, const v1::RetryQueueEntryRequest* request,
    v1::RetryQueueEntryResponse*) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  spool_->MakeDue(request->queue_id(), clock_(),
                  Changed(reactor, "message due", request->queue_id()));
  return reactor;
}

grpc::ServerUnaryReactor* QueueAdminServiceAdapter::DeleteQueueEntry(
    grpc::CallbackServerContext* context, const v1::DeleteQueueEntryRequest* request,
    v1::DeleteQueueEntryResponse*) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  spool_->Delete(request->queue_id(), Changed(reactor, "message deleted", request->queue_id()));
  return reactor;
}

}  // namespace postern::relay
