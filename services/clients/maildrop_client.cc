#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/client_callback.h"
#include "proto/postern/store/v1/maildrop.grpc.pb.h"
#include "services/clients/maildrop_lease.h"
#include "services/clients/store_client.h"
#include "services/clients/unary_call.h"
#include "services/rpc/context.h"
#include "services/rpc/retry.h"

namespace postern::clients {

namespace {

using store::v1::CommitRequest;
using store::v1::CommitResponse;
using store::v1::MaildropService;
using store::v1::OpenRequest;
using store::v1::OpenResponse;
using store::v1::RetrieveRequest;
using store::v1::RetrieveResponse;

// One Retrieve call. Kept by its reader and by itself until OnDone. Reads one piece ahead, so that
// the network to the store and the one to the client work at the same time; never more than that.
class RetrieveCall : public grpc::ClientReadReactor<RetrieveResponse> {
 public:
  void Start(const std::shared_ptr<RetrieveCall>& self, MaildropService::Stub* stub,
             const rpc::CallContext& call, RetrieveRequest request) {
    self_ = self;
    request_ = std::move(request);
    rpc::WriteCallContext(call, &context_);
    stub->async()->Retrieve(&context_, &request_, this);
    // Read starts operations from outside a reaction.
    AddHold();
    StartRead(&response_);
    StartCall();
  }

  void Read(async::Done<std::optional<std::string>> done) {
    absl::StatusOr<std::optional<std::string>> answer;
    {
      absl::MutexLock lock(&mutex_);
      if (ready_.has_value()) {
        answer = std::exchange(ready_, std::nullopt);
        if (held_) StartRead(&response_);
      } else if (ended_) {
        answer = End();
      } else {
        done_ = std::move(done);
        return;
      }
    }
    done(std::move(answer));
  }

  void Cancel() {
    context_.TryCancel();
    absl::MutexLock lock(&mutex_);
    ReleaseHold();
  }

  void OnReadDone(bool ok) override {
    async::Done<std::optional<std::string>> done;
    std::string piece;
    {
      absl::MutexLock lock(&mutex_);
      if (!ok || !held_) {
        ReleaseHold();
        return;
      }
      piece = std::move(*response_.mutable_chunk());
      response_.Clear();
      if (!piece.empty() && !done_) {
        ready_ = std::move(piece);
        return;
      }
      StartRead(&response_);
      if (piece.empty()) return;
      done = std::move(done_);
      done_ = nullptr;
    }
    done(std::optional<std::string>(std::move(piece)));
  }

  void OnDone(const grpc::Status& status) override {
    async::Done<std::optional<std::string>> done;
    {
      absl::MutexLock lock(&mutex_);
      ended_ = true;
      status_ = rpc::FromGrpc(status);
      done = std::move(done_);
      done_ = nullptr;
    }
    if (done) done(End());
    // Last: this may delete the call.
    const std::shared_ptr<RetrieveCall> self = std::move(self_);
  }

 private:
  absl::StatusOr<std::optional<std::string>> End() const {
    if (status_.ok()) return std::optional<std::string>();
    return status_;
  }

  void ReleaseHold() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!held_) return;
    held_ = false;
    RemoveHold();
  }

  grpc::ClientContext context_;
  RetrieveRequest request_;
  RetrieveResponse response_;
  std::shared_ptr<RetrieveCall> self_;

  absl::Mutex mutex_;
  bool held_ ABSL_GUARDED_BY(mutex_) = true;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<std::string> ready_ ABSL_GUARDED_BY(mutex_);
  async::Done<std::optional<std::string>> done_ ABSL_GUARDED_BY(mutex_);
  // Written once, before `ended_`.
  absl::Status status_;
};

// What was fetched ahead of a client that asks in order: at most 256 KiB. One operation of its
// maildrop at a time, so one thread at a time.
struct FetchedAhead {
  // Reversed: the next one is the last.
  std::vector<OpenResponse::Message> messages;
  // What follows the last message that was fetched in the listing.
  uint64_t next_uid = 0;
};

// A message being fetched: over the open stream until it answers; a large one by a Retrieve call,
// the first that gives a first piece, to its end.
class Retrieval : public std::enable_shared_from_this<Retrieval> {
 public:
  Retrieval(std::shared_ptr<MaildropLease> lease, std::shared_ptr<FetchedAhead> ahead,
            rpc::CallContext call, uint64_t uid, std::optional<uint32_t> body_lines)
      : lease_(std::move(lease)),
        ahead_(std::move(ahead)),
        call_context_(rpc::WithDeadline(std::move(call))),
        until_(rpc::RetryUntil(call_context_, absl::Now())) {
    fetch_.set_uid(uid);
    if (body_lines.has_value()) fetch_.set_body_lines(*body_lines);
  }

  void Read(async::Done<std::optional<std::string>> done) {
    std::shared_ptr<RetrieveCall> call;
    bool whole;
    {
      absl::MutexLock lock(&mutex_);
      call = begun_ ? call_ : nullptr;
      whole = begun_ && call == nullptr;
      if (!begun_) done_ = std::move(done);
    }
    if (whole) {
      done(std::optional<std::string>());
    } else if (call != nullptr) {
      call->Read(std::move(done));
    } else if (std::optional<std::string> message = TakeFetched(); message.has_value()) {
      Answer(std::move(message));
    } else {
      Fetch();
    }
  }

  // Whoever waits for a Read is answered: by the call that ends, or here.
  void Abandon() {
    async::Done<std::optional<std::string>> done;
    {
      absl::MutexLock lock(&mutex_);
      abandoned_ = true;
      if (call_ != nullptr) {
        call_->Cancel();
      } else {
        done = std::exchange(done_, nullptr);
      }
    }
    if (done) done(absl::CancelledError("nobody waits for the message"));
  }

 private:
  std::optional<std::string> TakeFetched() {
    auto& messages = ahead_->messages;
    if (fetch_.has_body_lines() || messages.empty() || messages.back().uid() != fetch_.uid()) {
      return std::nullopt;
    }
    std::string octets = std::move(*messages.back().mutable_octets());
    messages.pop_back();
    return octets;
  }

  void Fetch() {
    if (!fetch_.has_body_lines()) {
      fetch_.set_ahead(fetch_.uid() == ahead_->next_uid);
      ahead_->messages.clear();
    }
    lease_->Fetch(until_, fetch_,
                  [self = shared_from_this()](absl::StatusOr<OpenResponse::Fetched> fetched) {
                    self->Fetched(std::move(fetched));
                  });
  }

  void Fetched(absl::StatusOr<OpenResponse::Fetched> fetched) {
    absl::Status status = fetched.status();
    if (fetched.ok() && fetched->code() != 0) {
      status = absl::Status(static_cast<absl::StatusCode>(fetched->code()), fetched->error());
    } else if (fetched.ok() &&
               (fetched->messages().empty() || fetched->messages(0).uid() != fetch_.uid())) {
      status = absl::InternalError("the store sent another message");
    }
    if (absl::IsOutOfRange(status)) {
      Attempt();
    } else if (!status.ok()) {
      if (!Again(status, &Retrieval::Fetch)) Answer(status);
    } else {
      auto& messages = *fetched->mutable_messages();
      if (!fetch_.has_body_lines()) {
        // Nobody else looks at it: the session waits for this answer, unless it gave up.
        absl::MutexLock lock(&mutex_);
        if (!abandoned_) {
          ahead_->next_uid = fetched->next_uid();
          for (int i = messages.size() - 1; i > 0; --i) {
            ahead_->messages.push_back(std::move(messages[i]));
          }
        }
      }
      Answer(std::move(*messages[0].mutable_octets()));
    }
  }

  // Whether `attempt` will run once more.
  bool Again(const absl::Status& status, void (Retrieval::*attempt)()) {
    if (!rpc::IsBrokenHop(status)) return false;
    const absl::Duration delay = rpc::RetryDelay(++repetitions_);
    if (!rpc::WorthRetrying(delay, until_)) return false;
    rpc::RunAfter(delay, [self = shared_from_this(), attempt] { (self.get()->*attempt)(); });
    return true;
  }

  void Attempt() {
    lease_->WhenHeld(until_, [self = shared_from_this()](absl::StatusOr<uint64_t> fence) {
      if (fence.ok()) {
        self->Start(*fence);
      } else {
        self->Answer(fence.status());
      }
    });
  }

  void Start(uint64_t fence) {
    auto call = std::make_shared<RetrieveCall>();
    RetrieveRequest request;
    request.set_token(lease_->holder().token);
    request.set_session_nonce(lease_->holder().session_nonce);
    request.set_uid(fetch_.uid());
    if (fetch_.has_body_lines()) request.set_body_lines(fetch_.body_lines());
    request.set_fence(fence);
    bool abandoned;
    {
      absl::MutexLock lock(&mutex_);
      abandoned = abandoned_;
      if (!abandoned) {
        // Started here, so that Abandon sees a call that it can cancel.
        call->Start(call, lease_->stub().get(), call_context_, std::move(request));
        call_ = call;
      }
    }
    if (abandoned) {
      Answer(absl::CancelledError("nobody waits for the message"));
      return;
    }
    call->Read([self = shared_from_this()](absl::StatusOr<std::optional<std::string>> piece) {
      if (self->Again(piece.status(), &Retrieval::Attempt)) return;
      self->Answer(std::move(piece));
    });
  }

  void Answer(absl::StatusOr<std::optional<std::string>> piece) {
    async::Done<std::optional<std::string>> done;
    {
      absl::MutexLock lock(&mutex_);
      begun_ = piece.ok();
      done = std::exchange(done_, nullptr);
    }
    // Abandoned, unless it waits.
    if (done) done(std::move(piece));
  }

  const std::shared_ptr<MaildropLease> lease_;
  const std::shared_ptr<FetchedAhead> ahead_;
  const rpc::CallContext call_context_;
  const absl::Time until_;
  // Attempts follow one another.
  OpenRequest::Fetch fetch_;
  int repetitions_ = 0;

  absl::Mutex mutex_;
  bool abandoned_ ABSL_GUARDED_BY(mutex_) = false;
  // The first piece has come, or all of it when there is no call: what breaks now is the end.
  bool begun_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<RetrieveCall> call_ ABSL_GUARDED_BY(mutex_);
  async::Done<std::optional<std::string>> done_ ABSL_GUARDED_BY(mutex_);
};

class GrpcMessageReader : public MessageReader {
 public:
  explicit GrpcMessageReader(std::shared_ptr<Retrieval> retrieval)
      : retrieval_(std::move(retrieval)) {}
  ~GrpcMessageReader() override { retrieval_->Abandon(); }

  void Read(async::Done<std::optional<std::string>> done) override {
    retrieval_->Read(std::move(done));
  }

 private:
  const std::shared_ptr<Retrieval> retrieval_;
};

// A Commit until it is answered. The store refuses a stale fence without deleting. Deleting twice
// is the same as once, since uids never repeat.
class Committal : public std::enable_shared_from_this<Committal> {
 public:
  Committal(std::shared_ptr<MaildropLease> lease, rpc::CallContext call,
            const std::vector<uint64_t>& uids, async::DoneStatus done)
      : lease_(std::move(lease)),
        call_context_(rpc::WithDeadline(std::move(call))),
        done_(std::move(done)) {
    request_.set_token(lease_->holder().token);
    request_.set_session_nonce(lease_->holder().session_nonce);
    request_.mutable_deleted_uids()->Assign(uids.begin(), uids.end());
  }

  void Attempt() {
    lease_->WhenHeld(rpc::RetryUntil(call_context_, repetitions_.begun()),
                     [self = shared_from_this()](absl::StatusOr<uint64_t> fence) {
                       if (fence.ok()) {
                         self->Send(*fence);
                       } else {
                         self->done_(fence.status());
                       }
                     });
  }

 private:
  void Send(uint64_t fence) {
    static const auto& metrics = *new MethodMetrics("postern.store.v1.MaildropService/Commit");
    request_.set_fence(fence);
    RunUnaryCall<CommitRequest, CommitResponse>(
        metrics, OnUnavailable::kFail, repetitions_.Begin(call_context_), request_,
        [stub = lease_->stub()](auto* context, auto* to, auto* answer, auto on_done) {
          stub->async()->Commit(context, to, answer, std::move(on_done));
        },
        [self = shared_from_this()](absl::StatusOr<CommitResponse> response) {
          self->Answered(response.status());
        });
  }

  void Answered(const absl::Status& status) {
    if (rpc::IsBrokenHop(status)) {
      if (const std::optional<absl::Duration> delay = repetitions_.Next(call_context_)) {
        rpc::RunAfter(*delay, [self = shared_from_this()] { self->Attempt(); });
        return;
      }
    }
    if (!status.ok()) {
      done_(status);
      return;
    }
    // The next session of this user must find the maildrop free when QUIT has its answer.
    lease_->Release(call_context_.deadline,
                    [self = shared_from_this()] { self->done_(absl::OkStatus()); });
  }

  const std::shared_ptr<MaildropLease> lease_;
  const rpc::CallContext call_context_;
  rpc::Repetitions repetitions_;
  CommitRequest request_;
  async::DoneStatus done_;
};

class GrpcMaildrop : public Maildrop {
 public:
  explicit GrpcMaildrop(std::shared_ptr<MaildropLease> lease) : lease_(std::move(lease)) {}
  ~GrpcMaildrop() override { lease_->Release(absl::InfiniteFuture(), nullptr); }

  std::unique_ptr<MessageReader> Retrieve(const rpc::CallContext& call, uint64_t uid,
                                          std::optional<uint32_t> body_lines) override {
    return std::make_unique<GrpcMessageReader>(
        std::make_shared<Retrieval>(lease_, ahead_, call, uid, body_lines));
  }

  void Commit(const rpc::CallContext& call, std::vector<uint64_t> deleted_uids,
              async::DoneStatus done) override {
    if (deleted_uids.empty()) {
      lease_->Release(
          rpc::WithDeadline(call).deadline,
          [lease = lease_, done = std::move(done)]() mutable { done(absl::OkStatus()); });
      return;
    }
    std::make_shared<Committal>(lease_, call, deleted_uids, std::move(done))->Attempt();
  }

 private:
  const std::shared_ptr<MaildropLease> lease_;
  const std::shared_ptr<FetchedAhead> ahead_ = std::make_shared<FetchedAhead>();
};

class GrpcMaildropClient : public MaildropClient {
 public:
  explicit GrpcMaildropClient(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(MaildropService::NewStub(channel)) {}

  void Open(const rpc::CallContext& call, std::string token, std::string session_nonce,
            async::Done<OpenedMaildrop> done) override {
    auto lease = std::make_shared<MaildropLease>(
        stub_, MaildropLease::Holder{call.trace, std::move(token), std::move(session_nonce)});
    MaildropLease* opening = lease.get();
    opening->Open(rpc::WithDeadline(call), [lease = std::move(lease), done = std::move(done)](
                                               absl::StatusOr<MaildropListing> listing) mutable {
      if (!listing.ok()) {
        done(listing.status());
        return;
      }
      done(OpenedMaildrop{std::make_unique<GrpcMaildrop>(std::move(lease)), *std::move(listing)});
    });
  }

 private:
  const std::shared_ptr<MaildropService::Stub> stub_;
};

}  // namespace

std::unique_ptr<MaildropClient> MakeMaildropClient(std::shared_ptr<grpc::Channel> channel) {
  return std::make_unique<GrpcMaildropClient>(channel);
}

}  // namespace postern::clients
