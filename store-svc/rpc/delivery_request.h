// What a DeliveryHeader asks for, checked.
#ifndef POSTERN_STORE_SVC_RPC_DELIVERY_REQUEST_H_
#define POSTERN_STORE_SVC_RPC_DELIVERY_REQUEST_H_

#include "absl/status/statusor.h"
#include "proto/postern/store/v1/delivery.pb.h"
#include "store-svc/domain/mail_store.h"

namespace postern::store {

// A mailbox that stands twice is taken once, as it stands first. INVALID_ARGUMENT names what is
// wrong.
absl::StatusOr<Delivery> ParseDeliveryHeader(const v1::DeliveryHeader& header);

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_RPC_DELIVERY_REQUEST_H_
