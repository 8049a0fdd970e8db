// postern.store.v1.DeliveryService over a MailStore.
#ifndef POSTERN_STORE_SVC_RPC_DELIVERY_SERVICE_H_
#define POSTERN_STORE_SVC_RPC_DELIVERY_SERVICE_H_

#include <cstdint>
#include <memory>

#include "services/process/worker_pool.h"
#include "store-svc/domain/mail_store.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace postern::store {

class DeliverManyCall;
template <typename Stream>
class RunningStreams;

struct DeliveryServiceOptions {
  // A body over it is INVALID_ARGUMENT.
  uint64_t max_message_octets = 0;
};

class DeliveryServer {
 public:
  // `store` and `pool`, on which it reads, must outlive it.
  DeliveryServer(MailStore* store, process::WorkerPool* pool,
                 const DeliveryServiceOptions& options);
  // When no call runs any more.
  ~DeliveryServer();

  grpc::Service* service();

  // Drain: ends the calls that stay open, when what they have read is committed and answered.
  void EndStreams();

 private:
  std::unique_ptr<RunningStreams<DeliverManyCall>> streams_;
  std::unique_ptr<grpc::Service> service_;
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_RPC_DELIVERY_SERVICE_H_
