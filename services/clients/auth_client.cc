#include "services/clients/auth_client.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/client_callback.h"
#include "proto/postern/auth/v1/authentication.grpc.pb.h"
#include "proto/postern/auth/v1/directory.grpc.pb.h"
#include "services/clients/unary_call.h"
#include "services/rpc/context.h"
#include "services/rpc/retry.h"

namespace postern::clients {

namespace {

using auth::v1::AuthenticateRequest;
using auth::v1::AuthenticateResponse;
using auth::v1::AuthenticationService;
using auth::v1::DirectoryService;

// Kept by the handle and by itself until OnDone. The hold lets Step start operations from outside a
// reaction; it goes when the exchange has had its last answer.
class ExchangeCall : public grpc::ClientBidiReactor<AuthenticateRequest, AuthenticateResponse> {
 public:
  ExchangeCall(std::shared_ptr<AuthenticationService::Stub> stub, const rpc::CallContext& call)
      : stub_(std::move(stub)) {
    rpc::WriteCallContext(rpc::WithDeadline(call), &context_);
    // The first step leaves together with the call's metadata.
    context_.set_initial_metadata_corked(true);
  }

  void Step(const std::shared_ptr<ExchangeCall>& self, AuthenticateRequest request,
            async::Done<AuthenticateResponse> done) {
    {
      absl::MutexLock lock(&mutex_);
      if (!ended_ && !answered_) {
        done_ = std::move(done);
        // A broken call says why in OnDone.
        if (broken_) return;
        if (writing_) {
          // The answer to what is being written came before the end of the write.
          next_ = std::move(request);
          StartRead(&response_);
          return;
        }
        request_ = std::move(request);
        writing_ = true;
        if (!started_) {
          started_ = true;
          self_ = self;
          stub_->async()->Authenticate(&context_, this);
          AddHold();
          StartWrite(&request_);
          StartRead(&response_);
          StartCall();
          return;
        }
        StartWrite(&request_);
        StartRead(&response_);
        return;
      }
    }
    done(Failure());
  }

  // Whoever had the last answer lets the service end the call; else it is cancelled.
  void Abandon() {
    absl::MutexLock lock(&mutex_);
    if (answered_ || ended_ || !started_) return;
    context_.TryCancel();
    broken_ = true;
    ReleaseHold();
  }

  void OnReadDone(bool ok) override {
    async::Done<AuthenticateResponse> done;
    AuthenticateResponse response;
    {
      absl::MutexLock lock(&mutex_);
      if (answered_ && ok) context_.TryCancel();  // Nothing may follow the last answer.
      if (!ok || broken_ || answered_) {
        broken_ = true;
        ReleaseHold();
        return;
      }
      done = std::move(done_);
      done_ = nullptr;
      response = std::move(response_);
      response_.Clear();
      if (response.step_case() != AuthenticateResponse::kChallenge) {
        answered_ = true;
        // Sees the end of the call.
        StartRead(&response_);
      }
    }
    if (done) done(std::move(response));
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) {
      broken_ = true;
      ReleaseHold();
      return;
    }
    if (!next_.has_value() || broken_) return;
    request_ = *std::exchange(next_, std::nullopt);
    writing_ = true;
    StartWrite(&request_);
  }

  void OnDone(const grpc::Status& status) override {
    async::Done<AuthenticateResponse> done;
    {
      absl::MutexLock lock(&mutex_);
      ended_ = true;
      status_ = rpc::FromGrpc(status);
      done = std::move(done_);
    }
    if (done) done(Failure());
    // Last: this may delete the call.
    const std::shared_ptr<ExchangeCall> self = std::move(self_);
  }

 private:
  void ReleaseHold() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!held_) return;
    held_ = false;
    RemoveHold();
  }

  absl::Status Failure() const {
    return status_.ok() ? absl::InternalError("the exchange is over") : status_;
  }

  const std::shared_ptr<AuthenticationService::Stub> stub_;
  grpc::ClientContext context_;
  AuthenticateRequest request_;
  AuthenticateResponse response_;
  std::shared_ptr<ExchangeCall> self_;

  absl::Mutex mutex_;
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
  bool held_ ABSL_GUARDED_BY(mutex_) = true;
  // One write at a time; the next request waits for its end.
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<AuthenticateRequest> next_ ABSL_GUARDED_BY(mutex_);
  bool answered_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  async::Done<AuthenticateResponse> done_ ABSL_GUARDED_BY(mutex_);
  // Written once, before `ended_`.
  absl::Status status_;
};

// An exchange whose first step goes out once more when the service can't be reached: another
// replica may answer. What follows an answer belongs to the replica that gave it.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(std::shared_ptr<AuthenticationService::Stub> stub, const rpc::CallContext& call)
      : stub_(std::move(stub)),
        context_(rpc::WithDeadline(call)),
        call_(std::make_shared<ExchangeCall>(stub_, repetitions_.Begin(context_))) {}

  void Step(AuthenticateRequest request, async::Done<AuthenticateResponse> done) {
    std::shared_ptr<ExchangeCall> call;
    bool first = false;
    {
      absl::MutexLock lock(&mutex_);
      call = call_;
      first = !std::exchange(begun_, true);
    }
    if (first) {
      StepFirst(call, std::move(request), std::move(done));
    } else {
      call->Step(call, std::move(request), std::move(done));
    }
  }

  void Abandon() {
    absl::MutexLock lock(&mutex_);
    abandoned_ = true;
    call_->Abandon();
  }

 private:
  void StepFirst(const std::shared_ptr<ExchangeCall>& call, AuthenticateRequest request,
                 async::Done<AuthenticateResponse> done) {
    call->Step(
        call, request,
        [self = shared_from_this(), request,
         done = std::move(done)](absl::StatusOr<AuthenticateResponse> answer) mutable {
          std::optional<absl::Duration> delay;
          if (absl::IsUnavailable(answer.status()) && !std::exchange(self->repeated_, true)) {
            delay = self->repetitions_.Next(self->context_);
          }
          if (!delay.has_value()) {
            done(std::move(answer));
            return;
          }
          rpc::RunAfter(*delay,
                        [self, request = std::move(request), done = std::move(done)]() mutable {
                          self->StepAgain(std::move(request), std::move(done));
                        });
        });
  }

  void StepAgain(AuthenticateRequest request, async::Done<AuthenticateResponse> done) {
    std::shared_ptr<ExchangeCall> call;
    {
      absl::MutexLock lock(&mutex_);
      if (!abandoned_) {
        call = call_ = std::make_shared<ExchangeCall>(stub_, repetitions_.Begin(context_));
      }
    }
    if (call == nullptr) {
      done(absl::CancelledError("nobody waits for the answer"));
      return;
    }
    StepFirst(call, std::move(request), std::move(done));
  }

  const std::shared_ptr<AuthenticationService::Stub> stub_;
  const rpc::CallContext context_;
  // Both of one attempt after the other.
  rpc::Repetitions repetitions_;
  bool repeated_ = false;

  absl::Mutex mutex_;
  bool begun_ ABSL_GUARDED_BY(mutex_) = false;
  bool abandoned_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<ExchangeCall> call_ ABSL_GUARDED_BY(mutex_);
};

class GrpcSaslExchange : public SaslExchange {
 public:
  explicit GrpcSaslExchange(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  ~GrpcSaslExchange() override { exchange_->Abandon(); }

  void Step(AuthenticateRequest request, async::Done<AuthenticateResponse> done) override {
    exchange_->Step(std::move(request), std::move(done));
  }

 private:
  const std::shared_ptr<Exchange> exchange_;
};

class GrpcAuthenticationClient : public AuthenticationClient {
 public:
  explicit GrpcAuthenticationClient(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(AuthenticationService::NewStub(channel)) {}

  std::unique_ptr<SaslExchange> Authenticate(const rpc::CallContext& call) override {
    return std::make_unique<GrpcSaslExchange>(std::make_shared<Exchange>(stub_, call));
  }

  void ListMechanisms(const rpc::CallContext& call, auth::v1::ListMechanismsRequest request,
                      async::Done<auth::v1::ListMechanismsResponse> done) override {
    static const auto& metrics =
        *new MethodMetrics("postern.auth.v1.AuthenticationService/ListMechanisms");
    RunUnaryCall(
        metrics, OnUnavailable::kRepeat, call, std::move(request),
        [stub = stub_](auto* context, auto* to, auto* answer, auto on_done) {
          stub->async()->ListMechanisms(context, to, answer, std::move(on_done));
        },
        std::move(done));
  }

 private:
  const std::shared_ptr<AuthenticationService::Stub> stub_;
};

class GrpcDirectoryClient : public DirectoryClient {
 public:
  explicit GrpcDirectoryClient(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(DirectoryService::NewStub(channel)) {}

  void ResolveRecipient(const rpc::CallContext& call, auth::v1::ResolveRecipientRequest request,
                        async::Done<auth::v1::ResolveRecipientResponse> done) override {
    static const auto& metrics =
        *new MethodMetrics("postern.auth.v1.DirectoryService/ResolveRecipient");
    RunUnaryCall(
        metrics, OnUnavailable::kRepeat, call, std::move(request),
        [stub = stub_](auto* context, auto* to, auto* answer, auto on_done) {
          stub->async()->ResolveRecipient(context, to, answer, std::move(on_done));
        },
        std::move(done));
  }

  void MaySendAs(const rpc::CallContext& call, auth::v1::MaySendAsRequest request,
                 async::Done<auth::v1::MaySendAsResponse> done) override {
    static const auto& metrics = *new MethodMetrics("postern.auth.v1.DirectoryService/MaySendAs");
    RunUnaryCall(
        metrics, OnUnavailable::kRepeat, call, std::move(request),
        [stub = stub_](auto* context, auto* to, auto* answer, auto on_done) {
          stub->async()->MaySendAs(context, to, answer, std::move(on_done));
        },
        std::move(done));
  }

 private:
  const std::shared_ptr<DirectoryService::Stub> stub_;
};

}  // namespace

std::unique_ptr<AuthenticationClient> MakeAuthenticationClient(
    std::shared_ptr<grpc::Channel> channel) {
  return std::make_unique<GrpcAuthenticationClient>(channel);
}

std::unique_ptr<DirectoryClient> MakeDirectoryClient(std::shared_ptr<grpc::Channel> channel) {
  return std::make_unique<GrpcDirectoryClient>(channel);
}

}  // namespace postern::clients
