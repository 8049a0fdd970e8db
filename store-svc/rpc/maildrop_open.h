// One Open call: its life is the lease, and it carries small messages.
#ifndef POSTERN_STORE_SVC_RPC_MAILDROP_OPEN_H_
#define POSTERN_STORE_SVC_RPC_MAILDROP_OPEN_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "proto/postern/store/v1/maildrop.pb.h"
#include "store-svc/domain/leases.h"
#include "store-svc/rpc/maildrop_session.h"
#include "store-svc/rpc/running_streams.h"

namespace postern::store {

class OpenStream;

using OpenStreams = RunningStreams<OpenStream>;

// Deletes itself when the call is done.
class OpenStream final : public grpc::ServerBidiReactor<v1::OpenRequest, v1::OpenResponse> {
 public:
  OpenStream(const MaildropParts* parts, OpenStreams* streams,
             grpc::CallbackServerContext* context);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone() override;

  // The lease stays for its grace period, and the call ends.
  void EndAsBroken();

 private:
  void TakeFirst();
  void TakeFetch();
  // With a token that is good now.
  void TakeAnew();
  void TakeHold(absl::StatusOr<Leases::Hold> hold);
  // On the pool.
  void StartListing();
  void ReadNextPage();
  void ReadFetched();
  absl::StatusOr<WholeMessages> Read(const v1::OpenRequest::Fetch& fetch);
  // The page that follows what was sent; it is the last when nothing follows it.
  void FillPage(const std::vector<MessageEntry>& entries);
  void WriteResponse();
  // Ends the lease, and the call when nothing is under way.
  void Stop(const absl::Status& status, bool broken);
  // Ends the call, which is not to be touched any more, when it is stopped and nothing is under
  // way.
  void FinishIfOver() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What was under way is over. True: the call ends, and is not to be touched any more.
  bool IdleAndStopped();
  void SubmitRead(void (OpenStream::*read)());
  void SubmitFetch();
  // What one message lacks does not end the session.
  void AnswerFetch(absl::StatusOr<WholeMessages> whole);
  void FailRead(const absl::Status& status);

  const MaildropParts& parts_;
  OpenStreams* const streams_;
  grpc::CallbackServerContext* const context_;

  // Of the reactions' thread: who it is, then what to fetch, until the end.
  v1::OpenRequest request_;
  std::optional<Leases::Hold> hold_;

  // Of whatever is under way: a job on the pool or a write.
  v1::OpenResponse response_;
  uint64_t last_uid_ = 0;
  uint64_t uid_next_ = 0;
  bool listed_ = false;

  absl::Mutex mutex_;
  bool under_way_ ABSL_GUARDED_BY(mutex_) = false;
  // Stopped, and the mailbox is not free yet.
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  // Waits until what is under way is over.
  std::optional<v1::OpenRequest::Fetch> fetch_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> stopped_ ABSL_GUARDED_BY(mutex_);
  std::optional<Leases::Ended> ended_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_RPC_MAILDROP_OPEN_H_
