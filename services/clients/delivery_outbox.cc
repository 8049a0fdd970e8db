#include "services/clients/delivery_outbox.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/client_callback.h"
#include "services/clients/method_metrics.h"
#include "services/rpc/context.h"
#include "services/rpc/limits.h"
#include "services/rpc/retry.h"

namespace postern::clients {
namespace {

using store::v1::DeliverManyRequest;
using store::v1::DeliverManyResponse;
using store::v1::DeliverRequest;
using store::v1::DeliverResponse;

// A request of several; one delivery may be larger.
constexpr size_t kMaxRequestOctets = 256 << 10;
constexpr int kMaxRequestDeliveries = 64;
// What a request adds to a delivery: number, trace, lengths.
constexpr size_t kOverheadOctets = 1 << 10;
constexpr absl::Duration kDeadlineCheck = absl::Milliseconds(250);
constexpr absl::Duration kEndTimeout = absl::Seconds(1);

// A message on its way.
struct Delivery {
  rpc::CallContext call;
  DeliverRequest request;
  // Of the request.
  size_t octets = 0;
  async::Done<DeliverResponse> done;
  rpc::Repetitions repetitions;
  // Of the attempt.
  absl::Time deadline = call.deadline;
};

}  // namespace

// Shared with the calls and with the messages that wait for their repetition. These may be the last
// to go, on a thread of gRPC's, where the last reference to a channel must not be dropped: that
// joins gRPC's threads. So the stub goes with the outbox.
class DeliveryOutbox::Core : public std::enable_shared_from_this<DeliveryOutbox::Core> {
 public:
  Core(std::shared_ptr<Stub> stub, absl::Duration longest_call)
      : longest_call_(longest_call), stub_(std::move(stub)) {}

  void Send(Delivery delivery);
  // Its answer, or its next attempt.
  void Settle(Delivery delivery, absl::StatusOr<DeliverResponse> answer);
  // Ends every call, and waits for it.
  void Close();

 private:
  class Call;

  bool closed();

  const absl::Duration longest_call_;
  const MethodMetrics metrics_{"postern.store.v1.DeliveryService/DeliverMany"};
  absl::Mutex mutex_;
  // Null when closed.
  std::shared_ptr<Stub> stub_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<Call> call_ ABSL_GUARDED_BY(mutex_);
  // Those before it that may not be over.
  std::vector<std::weak_ptr<Call>> old_calls_ ABSL_GUARDED_BY(mutex_);
};

// One DeliverMany. Keeps itself until OnDone. The hold (see grpc::ClientBidiReactor::AddHold) lets
// Add write from outside a reaction; it is removed when nothing more will be written.
class DeliveryOutbox::Core::Call
    : public std::enable_shared_from_this<Call>,
      public grpc::ClientBidiReactor<DeliverManyRequest, DeliverManyResponse> {
 public:
  explicit Call(std::shared_ptr<Core> core) : core_(std::move(core)) {}

  void Start(Stub& stub) {
    self_ = shared_from_this();
    rpc::WriteCallContext({.trace = rpc::TraceContext::New()}, &*context_);
    stub.async()->DeliverMany(&*context_, this);
    AddHold();
    StartRead(&response_);
    StartCall();
  }

  absl::Time begun() const { return begun_; }

  // False: it takes no more, and the delivery is as it was.
  bool Add(Delivery* delivery) {
    bool check = false;
    {
      absl::MutexLock lock(&mutex_);
      if (closing_ || broken_) return false;
      const uint64_t number = ++last_number_;
      unanswered_.emplace(number, Unanswered{.delivery = std::move(*delivery)});
      unsent_.push_back(number);
      check = !std::exchange(checking_, true);
      WriteOn();
    }
    if (check) CheckDeadlinesLater();
    return true;
  }

  // What was added is sent and answered first.
  void Close() {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
    WriteOn();
  }

  // Cancels the call when it is not over in a second.
  void AwaitEnd() {
    if (ended_.WaitForNotificationWithTimeout(kEndTimeout)) return;
    {
      absl::MutexLock lock(&mutex_);
      Cancel();
    }
    ended_.WaitForNotification();
  }

  void OnWriteDone(bool ok) override {
    Settled settled;
    {
      absl::MutexLock lock(&mutex_);
      writing_ = false;
      for (store::v1::NumberedDelivery& sent : *request_.mutable_deliveries()) {
        const auto found = unanswered_.find(sent.number());
        if (found == unanswered_.end()) {
          sent.clear_delivery();
          continue;
        }
        // Where a repetition finds it.
        found->second.delivery.request.Swap(sent.mutable_delivery());
        found->second.being_written = false;
        if (absl::Status broken = found->second.broken; !broken.ok()) {
          Settle(found, broken, &settled);
        }
      }
      if (ok) {
        WriteOn();
      } else {
        Break();
      }
    }
    Tell(std::move(settled));
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      absl::MutexLock lock(&mutex_);
      Break();
      return;
    }
    Settled settled;
    {
      absl::MutexLock lock(&mutex_);
      for (const store::v1::DeliveryOutcome& outcome : response_.outcomes()) {
        const auto found = unanswered_.find(outcome.number());
        if (found == unanswered_.end()) continue;  // Its deadline has passed.
        absl::StatusOr<DeliverResponse> answer = AnswerOf(outcome);
        if (found->second.being_written && rpc::IsBrokenHop(answer.status())) {
          found->second.broken = answer.status();
        } else {
          Settle(found, std::move(answer), &settled);
        }
      }
    }
    StartRead(&response_);
    Tell(std::move(settled));
  }

  void OnDone(const grpc::Status& status) override {
    // How a call ends says nothing of the messages on it, unless this caller may not make it.
    absl::Status why = rpc::FromGrpc(status);
    if (!absl::IsPermissionDenied(why) && !absl::IsUnauthenticated(why) &&
        !absl::IsUnimplemented(why)) {
      why = absl::UnavailableError(absl::StrCat("the call ended: ", why.ToString()));
    }
    Settled settled;
    {
      absl::MutexLock lock(&mutex_);
      broken_ = true;
      // It holds the channel, which is not to be let go of here.
      context_.reset();
      while (!unanswered_.empty()) Settle(unanswered_.begin(), why, &settled);
    }
    Tell(std::move(settled));
    ended_.Notify();
    // Last: this may delete the call.
    const std::shared_ptr<Call> self = std::move(self_);
  }

 private:
  struct Unanswered {
    Delivery delivery;
    // gRPC has the request.
    bool being_written = false;
    // An answer that came meanwhile, and wants the request for a repetition.
    absl::Status broken;
  };
  // By number.
  using Deliveries = absl::flat_hash_map<uint64_t, Unanswered>;
  using Settled = std::vector<std::pair<Delivery, absl::StatusOr<DeliverResponse>>>;

  void Settle(Deliveries::iterator found, absl::StatusOr<DeliverResponse> answer, Settled* settled)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    settled->emplace_back(std::move(found->second.delivery), std::move(answer));
    unanswered_.erase(found);
  }

  // Without the mutex: it runs the callbacks.
  void Tell(Settled settled) {
    for (auto& [delivery, answer] : settled) core_->Settle(std::move(delivery), std::move(answer));
  }

  static absl::StatusOr<DeliverResponse> AnswerOf(const store::v1::DeliveryOutcome& outcome) {
    if (outcome.code() != 0) {
      return absl::Status(static_cast<absl::StatusCode>(outcome.code()), outcome.message());
    }
    DeliverResponse response;
    response.set_repeated_delivery(outcome.repeated_delivery());
    return response;
  }

  void WriteOn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || broken_ || half_closed_) return;
    FillRequest();
    if (request_.deliveries_size() > 0) {
      writing_ = true;
      StartWrite(&request_);
    } else if (closing_) {
      half_closed_ = true;
      StartWritesDone();
      ReleaseHold();
    }
  }

  void FillRequest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    request_.Clear();
    size_t octets = 0;
    for (; !unsent_.empty() && request_.deliveries_size() < kMaxRequestDeliveries;
         unsent_.pop_front()) {
      const auto found = unanswered_.find(unsent_.front());
      if (found == unanswered_.end()) continue;  // Its deadline has passed.
      Delivery& delivery = found->second.delivery;
      octets += delivery.octets;
      if (octets > kMaxRequestOctets && request_.deliveries_size() > 0) break;
      store::v1::NumberedDelivery& next = *request_.add_deliveries();
      next.set_number(found->first);
      next.set_traceparent(delivery.call.trace.ToHeader());
      next.mutable_delivery()->Swap(&delivery.request);
      found->second.being_written = true;
    }
  }

  void Cancel() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (context_.has_value()) context_->TryCancel();
  }

  void Break() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    broken_ = true;
    ReleaseHold();
  }

  void ReleaseHold() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (std::exchange(held_, false)) RemoveHold();
  }

  void CheckDeadlinesLater() {
    rpc::RunAfter(kDeadlineCheck, [weak = weak_from_this()] {
      if (const std::shared_ptr<Call> self = weak.lock(); self != nullptr) self->CheckDeadlines();
    });
  }

  void CheckDeadlines() {
    const absl::Time now = absl::Now();
    Settled late;
    bool again = false;
    {
      absl::MutexLock lock(&mutex_);
      for (auto next = unanswered_.begin(); next != unanswered_.end();) {
        const auto found = next++;
        if (found->second.delivery.deadline > now) continue;
        Settle(found, absl::DeadlineExceededError("no answer in time"), &late);
      }
      again = checking_ = !unanswered_.empty();
      // The store hangs, or that replica does: what comes next is for another call.
      if (!late.empty()) {
        closing_ = true;
        if (unanswered_.empty()) {
          Cancel();
        } else {
          WriteOn();
        }
      }
    }
    if (again) CheckDeadlinesLater();
    Tell(std::move(late));
  }

  const std::shared_ptr<Core> core_;
  const absl::Time begun_ = absl::Now();
  // Until OnDone.
  std::optional<grpc::ClientContext> context_{std::in_place};
  DeliverManyResponse response_;
  std::shared_ptr<Call> self_;
  absl::Notification ended_;

  absl::Mutex mutex_;
  // Being written.
  DeliverManyRequest request_ ABSL_GUARDED_BY(mutex_);
  Deliveries unanswered_ ABSL_GUARDED_BY(mutex_);
  std::deque<uint64_t> unsent_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_number_ ABSL_GUARDED_BY(mutex_) = 0;
  bool checking_ ABSL_GUARDED_BY(mutex_) = false;
  bool held_ ABSL_GUARDED_BY(mutex_) = true;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
};

void DeliveryOutbox::Core::Send(Delivery delivery) {
  std::shared_ptr<Call> call;
  {
    absl::MutexLock lock(&mutex_);
    call = call_;
  }
  if (call != nullptr && absl::Now() - call->begun() <= longest_call_ && call->Add(&delivery)) {
    return;
  }
  const std::shared_ptr<Call> old = call;
  {
    absl::MutexLock lock(&mutex_);
    if (call_ == old && stub_ != nullptr) {
      std::erase_if(old_calls_, [](const std::weak_ptr<Call>& one) { return one.expired(); });
      if (old != nullptr) old_calls_.push_back(old);
      call_ = std::make_shared<Call>(shared_from_this());
      call_->Start(*stub_);
    }
    call = call_;
  }
  if (old != nullptr) old->Close();
  if (call == nullptr || !call->Add(&delivery)) {
    Settle(std::move(delivery), absl::UnavailableError("the call could not be begun"));
  }
}

void DeliveryOutbox::Core::Settle(Delivery delivery, absl::StatusOr<DeliverResponse> answer) {
  if (rpc::IsBrokenHop(answer.status()) && !closed()) {
    if (const std::optional<absl::Duration> delay = delivery.repetitions.Next(delivery.call)) {
      metrics_.repetitions.Add();
      rpc::RunAfter(*delay, [self = shared_from_this(), delivery = std::move(delivery)]() mutable {
        delivery.deadline = delivery.repetitions.Begin(delivery.call).deadline;
        self->Send(std::move(delivery));
      });
      return;
    }
  }
  metrics_.seconds.Observe(absl::ToDoubleSeconds(absl::Now() - delivery.repetitions.begun()));
  if (!answer.ok()) metrics_.failures.Add();
  delivery.done(std::move(answer));
}

bool DeliveryOutbox::Core::closed() {
  absl::MutexLock lock(&mutex_);
  return stub_ == nullptr;
}

void DeliveryOutbox::Core::Close() {
  std::shared_ptr<Stub> stub;
  std::vector<std::shared_ptr<Call>> calls;
  {
    absl::MutexLock lock(&mutex_);
    stub.swap(stub_);
    if (call_ != nullptr) calls.push_back(std::move(call_));
    call_ = nullptr;
    for (const std::weak_ptr<Call>& old : old_calls_) {
      if (std::shared_ptr<Call> call = old.lock(); call != nullptr) calls.push_back(call);
    }
  }
  for (const std::shared_ptr<Call>& call : calls) call->Close();
  for (const std::shared_ptr<Call>& call : calls) call->AwaitEnd();
}

DeliveryOutbox::DeliveryOutbox(std::shared_ptr<Stub> stub, absl::Duration longest_call)
    : core_(std::make_shared<Core>(std::move(stub), longest_call)) {}

DeliveryOutbox::~DeliveryOutbox() { core_->Close(); }

void DeliveryOutbox::Deliver(const rpc::CallContext& call, DeliverRequest request,
                             async::Done<DeliverResponse> done) {
  const size_t octets = request.ByteSizeLong();
  Delivery delivery{.call = rpc::WithDeadline(call),
                    .request = std::move(request),
                    .octets = octets,
                    .done = std::move(done),
                    .repetitions = {}};
  // It would end the call, and with it what others have on their way.
  if (octets + kOverheadOctets > size_t{rpc::kMaxRpcMessageOctets}) {
    core_->Settle(std::move(delivery),
                  absl::InvalidArgumentError("a delivery's request has at most 1 MiB"));
    return;
  }
  core_->Send(std::move(delivery));
}

}  // namespace postern::clients
