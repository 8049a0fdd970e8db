// PolicyService over domain/policy.h.
#ifndef POSTERN_RELAY_SVC_RPC_POLICY_SERVICE_H_
#define POSTERN_RELAY_SVC_RPC_POLICY_SERVICE_H_

#include "boost/asio/thread_pool.hpp"
#include "proto/postern/relay/v1/policy.grpc.pb.h"
#include "relay-svc/domain/policy.h"

namespace postern::relay {

// Thread-safe. What it is given must outlive the server's drain.
class PolicyServiceAdapter : public relay::v1::PolicyService::CallbackService {
 public:
  PolicyServiceAdapter(const Policy* policy, boost::asio::thread_pool* pool)
      : policy_(policy), pool_(pool) {}

  grpc::ServerUnaryReactor* CheckConnection(grpc::CallbackServerContext* context,
                                            const v1::CheckConnectionRequest* request,
                                            v1::CheckConnectionResponse* response) override;
  grpc::ServerUnaryReactor* CheckSender(grpc::CallbackServerContext* context,
                                        const v1::CheckSenderRequest* request,
                                        v1::CheckSenderResponse* response) override;
  grpc::ServerUnaryReactor* CheckRecipient(grpc::CallbackServerContext* context,
                                           const v1::CheckRecipientRequest* request,
                                           v1::CheckRecipientResponse* response) override;

 private:
  const Policy* const policy_;
  boost::asio::thread_pool* const pool_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_RPC_POLICY_SERVICE_H_
