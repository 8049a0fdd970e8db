// postern.store.v1.StoreAdminService over a MailStore.
#ifndef POSTERN_STORE_SVC_RPC_ADMIN_SERVICE_H_
#define POSTERN_STORE_SVC_RPC_ADMIN_SERVICE_H_

#include <memory>

#include "services/process/worker_pool.h"
#include "store-svc/domain/mail_store.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace postern::store {

// `store` and `pool`, on which it reads, must outlive it and every call.
std::unique_ptr<grpc::Service> MakeStoreAdminService(MailStore* store, process::WorkerPool* pool);

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_RPC_ADMIN_SERVICE_H_
