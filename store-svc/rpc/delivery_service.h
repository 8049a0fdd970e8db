// postern.store.v1.DeliveryService over a MailStore.
#ifndef POSTERN_STORE_SVC_RPC_DELIVERY_SERVICE_H_
#define POSTERN_STORE_SVC_RPC_DELIVERY_SERVICE_H_

#include <cstdint>
#include <memory>

#include "services/platform/worker_pool.h"
#include "store-svc/domain/mail_store.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace postern::store {

struct DeliveryServiceOptions {
  // A body over it is INVALID_ARGUMENT.
  uint64_t max_message_octets = 0;
};

// `store` and `pool`, on which it reads, must outlive it and every call.
std::unique_ptr<grpc::Service> MakeDeliveryService(MailStore* store, platform::WorkerPool* pool,
                                                   const DeliveryServiceOptions& options);

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_RPC_DELIVERY_SERVICE_H_
