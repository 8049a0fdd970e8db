#include "relay-svc/rpc/policy_service.h"

#include "relay-svc/rpc/answer.h"

namespace postern::relay {

grpc::ServerUnaryReactor* PolicyServiceAdapter::CheckConnection(
    grpc::CallbackServerContext* context, const v1::CheckConnectionRequest* request,
    v1::CheckConnectionResponse* response) {
  return Answer(*pool_, context, response, policy_->CheckConnection(*request));
}

grpc::ServerUnaryReactor* PolicyServiceAdapter::CheckSender(grpc::CallbackServerContext* context,
                                                            const v1::CheckSenderRequest* request,
                                                            v1::CheckSenderResponse* response) {
  return Answer(*pool_, context, response, policy_->CheckSender(CallerOf(*context), *request));
}

grpc::ServerUnaryReactor* PolicyServiceAdapter::CheckRecipient(
    grpc::CallbackServerContext* context, const v1::CheckRecipientRequest* request,
    v1::CheckRecipientResponse* response) {
  return Answer(*pool_, context, response, policy_->CheckRecipient(CallerOf(*context), *request));
}

}  // namespace postern::relay
