// Small messages to store-svc over one call that stays open (DeliverMany): what waits while a
// request is being written leaves together in the next, so that a busy gateway pays for a fraction
// of an RPC a message.
#ifndef POSTERN_SERVICES_CLIENTS_DELIVERY_OUTBOX_H_
#define POSTERN_SERVICES_CLIENTS_DELIVERY_OUTBOX_H_

#include <memory>

#include "absl/time/time.h"
#include "proto/postern/store/v1/delivery.grpc.pb.h"
#include "services/async/done.h"
#include "services/rpc/call_context.h"

namespace postern::clients {

// Thread-safe. To each message DeliveryClient::Deliver's rules apply: its own deadline (kept to the
// second), its own answer, repeated on UNAVAILABLE and when the call ends without one. A call is
// begun with the first message, and with the next one after it broke, passed a deadline or got old:
// then the balancing of the channel gets to choose.
class DeliveryOutbox {
 public:
  using Stub = store::v1::DeliveryService::Stub;

  // A call older than `longest_call` takes no further message.
  explicit DeliveryOutbox(std::shared_ptr<Stub> stub,
                          absl::Duration longest_call = absl::Seconds(30));
  // Waits for the answers that are out, for a second at most: then they are UNAVAILABLE, as are
  // those to what waits for its repetition. Not from a `done`.
  ~DeliveryOutbox();

  void Deliver(const rpc::CallContext& call, store::v1::DeliverRequest request,
               async::Done<store::v1::DeliverResponse> done);

 private:
  class Core;
  const std::shared_ptr<Core> core_;
};

}  // namespace postern::clients

#endif  // POSTERN_SERVICES_CLIENTS_DELIVERY_OUTBOX_H_
