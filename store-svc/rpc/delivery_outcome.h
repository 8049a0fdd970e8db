// What became of a delivery: metrics and the log.
#ifndef POSTERN_STORE_SVC_RPC_DELIVERY_OUTCOME_H_
#define POSTERN_STORE_SVC_RPC_DELIVERY_OUTCOME_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "services/rpc/call_context.h"
#include "store-svc/domain/mail_store.h"

namespace postern::store {

// Any thread.
void RecordDelivery(const rpc::CallContext& call, const absl::StatusOr<DeliveryResult>& result,
                    size_t recipients, uint64_t octets);

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_RPC_DELIVERY_OUTCOME_H_
