// QueueAdminService over the spool.
#ifndef POSTERN_RELAY_SVC_RPC_QUEUE_ADMIN_SERVICE_H_
#define POSTERN_RELAY_SVC_RPC_QUEUE_ADMIN_SERVICE_H_

#include "proto/postern/relay/v1/queue_admin.grpc.pb.h"
#include "relay-svc/domain/queue_runner.h"
#include "relay-svc/domain/spool.h"
#include "services/process/clock.h"

namespace postern::relay {

// Thread-safe. What it is given must outlive the server's drain.
class QueueAdminServiceAdapter : public v1::QueueAdminService::CallbackService {
 public:
  QueueAdminServiceAdapter(Spool* spool, QueueRunner* runner, process::Clock clock)
      : spool_(spool), runner_(runner), clock_(std::move(clock)) {}

  grpc::ServerUnaryReactor* ListQueue(grpc::CallbackServerContext* context,
                                      const v1::ListQueueRequest* request,
                                      v1::ListQueueResponse* response) override;
  grpc::ServerUnaryReactor* GetQueueEntry(grpc::CallbackServerContext* context,
                                          const v1::GetQueueEntryRequest* request,
                                          v1::GetQueueEntryResponse* response) override;
  grpc::ServerUnaryReactor* HoldQueueEntry(grpc::CallbackServerContext* context,
                                           const v1::HoldQueueEntryRequest* request,
                                           v1::HoldQueueEntryResponse* response) override;
  grpc::ServerUnaryReactor* ReleaseQueueEntry(grpc::CallbackServerContext* context,
                                              const v1::ReleaseQueueEntryRequest* request,
                                              v1::ReleaseQueueEntryResponse* response) override;
  grpc::ServerUnaryReactor* RetryQueueEntry(grpc::CallbackServerContext* context,
                                            const v1::RetryQueueEntryRequest* request,
                                            v1::RetryQueueEntryResponse* response) override;
  grpc::ServerUnaryReactor* DeleteQueueEntry(grpc::CallbackServerContext* context,
                                             const v1::DeleteQueueEntryRequest* request,
                                             v1::DeleteQueueEntryResponse* response) override;

 private:
  // Finishes the call; wakes the runner when the change is made.
  async::DoneStatus Changed(grpc::ServerUnaryReactor* reactor, const char* what,
                            const std::string& queue_id);

  Spool* const spool_;
  QueueRunner* const runner_;
  const process::Clock clock_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_RPC_QUEUE_ADMIN_SERVICE_H_
