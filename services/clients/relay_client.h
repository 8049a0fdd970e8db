// relay-svc as its callers see it.
#ifndef POSTERN_SERVICES_CLIENTS_RELAY_CLIENT_H_
#define POSTERN_SERVICES_CLIENTS_RELAY_CLIENT_H_

#include <memory>

#include "proto/postern/relay/v1/policy.pb.h"
#include "proto/postern/relay/v1/submission.pb.h"
#include "services/async/done.h"
#include "services/clients/body_stream.h"
#include "services/rpc/call_context.h"

namespace grpc {
class Channel;
}  // namespace grpc

namespace postern::clients {

// Thread-safe. Repeats a call on UNAVAILABLE while its deadline allows. Remembers what it was told
// it may (ttl_seconds), in a bounded table: CheckConnection by network, CheckRecipient without a
// token by recipient.
class PolicyClient {
 public:
  virtual ~PolicyClient() = default;
  virtual void CheckConnection(const rpc::CallContext& call,
                               relay::v1::CheckConnectionRequest request,
                               async::Done<relay::v1::CheckConnectionResponse> done) = 0;
  virtual void CheckSender(const rpc::CallContext& call, relay::v1::CheckSenderRequest request,
                           async::Done<relay::v1::CheckSenderResponse> done) = 0;
  virtual void CheckRecipient(const rpc::CallContext& call,
                              relay::v1::CheckRecipientRequest request,
                              async::Done<relay::v1::CheckRecipientResponse> done) = 0;
};

// SubmissionService, or ForwardingService: what they do with a message is the same. Thread-safe.
class SubmissionClient {
 public:
  virtual ~SubmissionClient() = default;
  // Body at most kMaxPieceOctets. Repeats on UNAVAILABLE while the deadline allows: the
  // delivery_id makes it safe.
  virtual void Enqueue(const rpc::CallContext& call, relay::v1::EnqueueRequest request,
                       async::Done<relay::v1::EnqueueResponse> done) = 0;
  // For larger ones; not repeated.
  virtual std::unique_ptr<BodyStream<relay::v1::EnqueueResponse>> EnqueueStream(
      const rpc::CallContext& call, relay::v1::EnqueueHeader header) = 0;
};

std::unique_ptr<PolicyClient> MakePolicyClient(std::shared_ptr<grpc::Channel> channel);
std::unique_ptr<SubmissionClient> MakeSubmissionClient(std::shared_ptr<grpc::Channel> channel);
std::unique_ptr<SubmissionClient> MakeForwardingClient(std::shared_ptr<grpc::Channel> channel);

}  // namespace postern::clients

#endif  // POSTERN_SERVICES_CLIENTS_RELAY_CLIENT_H_
