// One DeliverMany call.
#ifndef POSTERN_STORE_SVC_RPC_DELIVER_MANY_H_
#define POSTERN_STORE_SVC_RPC_DELIVER_MANY_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "grpcpp/support/status.h"
#include "proto/postern/store/v1/delivery.pb.h"
#include "store-svc/domain/mail_store.h"
#include "store-svc/rpc/running_streams.h"

namespace postern::store {

class DeliverManyCall;
using DeliverManyCalls = RunningStreams<DeliverManyCall>;

// Deletes itself when the call is done. Reads on while what it has not answered is little, so that
// a client holds a bounded part of the store's memory; what was answered while an answer was being
// written leaves together in the next.
class DeliverManyCall final
    : public grpc::ServerBidiReactor<v1::DeliverManyRequest, v1::DeliverManyResponse> {
 public:
  DeliverManyCall(MailStore* store, uint64_t max_message_octets, DeliverManyCalls* calls);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone() override;

  // With UNAVAILABLE, when what was read is answered.
  void EndAsBroken();

 private:
  void TakeIn(const v1::DeliverManyRequest& request);
  void Answer(uint64_t number, size_t octets, const absl::StatusOr<DeliveryResult>& result);
  // Reads nothing more; ends the call when what was read is answered.
  void End(const absl::Status& status);
  // Starts the write and the read that can be started now. A status: all is over, and the caller
  // finishes the call with it, without the mutex, as the last thing it does.
  std::optional<grpc::Status> GoOn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  MailStore* const store_;
  const uint64_t max_message_octets_;
  DeliverManyCalls* const calls_;
  v1::DeliverManyRequest request_;
  v1::DeliverManyResponse response_;

  absl::Mutex mutex_;
  size_t unanswered_ ABSL_GUARDED_BY(mutex_) = 0;
  // Of their requests.
  size_t unanswered_octets_ ABSL_GUARDED_BY(mutex_) = 0;
  // Not written yet.
  v1::DeliverManyResponse outcomes_ ABSL_GUARDED_BY(mutex_);
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  // Set once.
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_RPC_DELIVER_MANY_H_
