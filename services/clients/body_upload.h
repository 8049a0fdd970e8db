// BodyStream over a client-streaming call of gRPC's: header, pieces, the body's size, one answer.
#ifndef POSTERN_SERVICES_CLIENTS_BODY_UPLOAD_H_
#define POSTERN_SERVICES_CLIENTS_BODY_UPLOAD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/client_callback.h"
#include "services/clients/body_stream.h"
#include "services/rpc/call_context.h"
#include "services/rpc/context.h"
#include "services/rpc/retry.h"

namespace postern::clients {

// The call itself. Kept by the handle and by itself until OnDone. `Request` has the parts `header`,
// `chunk` and `body_octets`. The hold (see grpc::ClientWriteReactor::AddHold) lets Write and Finish
// start operations from outside a reaction; it is removed when nothing more will be written.
template <typename Request, typename Response>
class UploadCall : public grpc::ClientWriteReactor<Request> {
 public:
  UploadCall() = default;

  // `begin` is stub->async()->XxxStream.
  template <typename Begin>
  void Start(std::shared_ptr<UploadCall> self, const rpc::CallContext& call, Request header,
             Begin begin) {
    self_ = std::move(self);
    message_ = std::move(header);
    rpc::WriteCallContext(rpc::WithDeadline(call), &context_);
    // The header leaves together with the call's metadata.
    context_.set_initial_metadata_corked(true);
    // Reactions wait until all is begun.
    absl::MutexLock lock(&mutex_);
    begin(&context_, &response_, this);
    this->AddHold();
    writing_ = true;
    this->StartWrite(&message_);
    this->StartCall();
  }

  void Write(std::string piece, async::DoneStatus done) {
    {
      absl::MutexLock lock(&mutex_);
      if (!ended_ && !broken_) {
        write_done_ = std::move(done);
        if (writing_) {  // The header is still on its way.
          waiting_piece_ = std::move(piece);
          has_waiting_piece_ = true;
        } else {
          StartPiece(std::move(piece));
        }
        return;
      }
      if (!ended_) {
        write_done_ = std::move(done);
        return;
      }
    }
    done(Failure());
  }

  void Finish(async::Done<Response> done) {
    {
      absl::MutexLock lock(&mutex_);
      if (!ended_) {
        finish_done_ = std::move(done);
        finishing_ = true;
        if (!writing_ && !broken_) StartEnd();
        return;
      }
    }
    done(Failure());
  }

  void Abandon() {
    context_.TryCancel();
    absl::MutexLock lock(&mutex_);
    if (ended_ || broken_) return;
    broken_ = true;
    if (!writing_) ReleaseHold();
  }

  void OnWriteDone(bool ok) override {
    async::DoneStatus done;
    {
      absl::MutexLock lock(&mutex_);
      writing_ = false;
      if (!ok || broken_) {
        // OnDone brings the reason, to whoever waits by then.
        broken_ = true;
        ReleaseHold();
        return;
      }
      if (has_waiting_piece_) {
        has_waiting_piece_ = false;
        StartPiece(std::move(waiting_piece_));
        return;
      }
      if (ending_) {
        ReleaseHold();
        return;
      }
      if (finishing_) StartEnd();
      done = std::move(write_done_);
      write_done_ = nullptr;
    }
    if (done) done(absl::OkStatus());
  }

  void OnDone(const grpc::Status& status) override {
    async::DoneStatus write_done;
    async::Done<Response> finish_done;
    {
      absl::MutexLock lock(&mutex_);
      ended_ = true;
      status_ = rpc::FromGrpc(status);
      write_done = std::move(write_done_);
      finish_done = std::move(finish_done_);
    }
    if (write_done) write_done(Failure());
    if (finish_done) {
      if (status.ok()) {
        finish_done(std::move(response_));
      } else {
        finish_done(status_);
      }
    }
    // Last: this may delete the call.
    const std::shared_ptr<UploadCall> self = std::move(self_);
  }

 private:
  void StartPiece(std::string piece) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    writing_ = true;
    octets_ += piece.size();
    message_.set_chunk(std::move(piece));
    this->StartWrite(&message_);
  }

  void StartEnd() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    writing_ = true;
    ending_ = true;
    message_.set_body_octets(octets_);
    this->StartWriteLast(&message_, grpc::WriteOptions());
  }

  void ReleaseHold() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!held_) return;
    held_ = false;
    this->RemoveHold();
  }

  // After the end: why nothing more can be written.
  absl::Status Failure() const {
    return status_.ok() ? absl::InternalError("the service answered before the body's end")
                        : status_;
  }

  grpc::ClientContext context_;
  Response response_;
  Request message_;
  uint64_t octets_ = 0;
  std::shared_ptr<UploadCall> self_;

  absl::Mutex mutex_;
  bool held_ ABSL_GUARDED_BY(mutex_) = true;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;
  // The last part is on its way.
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool has_waiting_piece_ ABSL_GUARDED_BY(mutex_) = false;
  std::string waiting_piece_ ABSL_GUARDED_BY(mutex_);
  async::DoneStatus write_done_ ABSL_GUARDED_BY(mutex_);
  async::Done<Response> finish_done_ ABSL_GUARDED_BY(mutex_);
  // Written once, before `ended_`.
  absl::Status status_;
};

template <typename Request, typename Response>
class BodyUpload : public BodyStream<Response> {
 public:
  template <typename Begin>
  BodyUpload(const rpc::CallContext& call, Request header, Begin begin)
      : call_(std::make_shared<UploadCall<Request, Response>>()) {
    call_->Start(call_, call, std::move(header), std::move(begin));
  }
  ~BodyUpload() override { call_->Abandon(); }

  void Write(std::string piece, async::DoneStatus done) override {
    call_->Write(std::move(piece), std::move(done));
  }
  void Finish(async::Done<Response> done) override { call_->Finish(std::move(done)); }

 private:
  const std::shared_ptr<UploadCall<Request, Response>> call_;
};

}  // namespace postern::clients

#endif  // POSTERN_SERVICES_CLIENTS_BODY_UPLOAD_H_
