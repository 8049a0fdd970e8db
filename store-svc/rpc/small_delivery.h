// A message in one request: what Deliver and DeliverMany share.
#ifndef POSTERN_STORE_SVC_RPC_SMALL_DELIVERY_H_
#define POSTERN_STORE_SVC_RPC_SMALL_DELIVERY_H_

#include <cstdint>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "proto/postern/store/v1/delivery.pb.h"
#include "services/rpc/call_context.h"
#include "store-svc/domain/mail_store.h"

namespace postern::store {

// Checks the request, commits it and records what became of it. `request` is not needed after the
// return. `done` runs once, on the writer's thread after the commit or, when the request is no
// good or too many wait, at once. INVALID_ARGUMENT: not to be repeated.
void DeliverSmall(MailStore* store, uint64_t max_message_octets, const v1::DeliverRequest& request,
                  rpc::CallContext call,
                  absl::AnyInvocable<void(absl::StatusOr<DeliveryResult>)> done);

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_RPC_SMALL_DELIVERY_H_
