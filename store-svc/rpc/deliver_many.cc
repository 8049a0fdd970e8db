#include "store-svc/rpc/deliver_many.h"

#include <string>
#include <utility>

#include "services/rpc/call_context.h"
#include "services/rpc/context.h"
#include "store-svc/rpc/small_delivery.h"
#include "store-svc/rpc/store_metrics.h"

namespace postern::store {
namespace {

constexpr int kMaxDeliveries = 256;
// With as much not answered, or as many answers not taken, the next request is left to the
// transport.
constexpr size_t kMaxUnansweredOctets = 1 << 20;
constexpr size_t kMaxUnanswered = 256;

}  // namespace

DeliverManyCall::DeliverManyCall(MailStore* store, uint64_t max_message_octets,
                                 DeliverManyCalls* calls)
    : store_(store), max_message_octets_(max_message_octets), calls_(calls) {
  if (absl::Status status = calls_->Add(this); !status.ok()) {
    End(status);
    return;
  }
  absl::MutexLock lock(&mutex_);
  GoOn();
}

void DeliverManyCall::OnReadDone(bool ok) {
  absl::Status broken_rule;
  if (ok) {
    Metrics().many_requests.Add();
    if (request_.deliveries_size() <= kMaxDeliveries) {
      TakeIn(request_);
    } else {
      broken_rule = absl::InvalidArgumentError("a request has at most 256 deliveries");
    }
    // Not kept while the call has nothing to do.
    request_.Clear();
  }
  std::optional<grpc::Status> end;
  {
    absl::MutexLock lock(&mutex_);
    reading_ = false;
    // Half-closed; or broken, and the status reaches nobody.
    if ((!ok || !broken_rule.ok()) && !end_.has_value()) end_ = broken_rule;
    end = GoOn();
  }
  if (end.has_value()) Finish(*end);
}

void DeliverManyCall::TakeIn(const v1::DeliverManyRequest& request) {
  {
    absl::MutexLock lock(&mutex_);
    // What comes in while the call ends stays without an answer.
    if (end_.has_value()) return;
    for (const v1::NumberedDelivery& one : request.deliveries()) {
      ++unanswered_;
      unanswered_octets_ += one.delivery().ByteSizeLong();
    }
  }
  for (const v1::NumberedDelivery& one : request.deliveries()) {
    DeliverSmall(store_, max_message_octets_, one.delivery(),
                 {.trace = rpc::TraceContext::FromHeader(one.traceparent())},
                 [this, number = one.number(), octets = one.delivery().ByteSizeLong()](
                     absl::StatusOr<DeliveryResult> result) { Answer(number, octets, result); });
  }
}

void DeliverManyCall::Answer(uint64_t number, size_t octets,
                             const absl::StatusOr<DeliveryResult>& result) {
  std::optional<grpc::Status> end;
  {
    absl::MutexLock lock(&mutex_);
    v1::DeliveryOutcome& outcome = *outcomes_.add_outcomes();
    outcome.set_number(number);
    if (result.ok()) {
      outcome.set_repeated_delivery(result->repeated);
    } else {
      outcome.set_code(static_cast<int32_t>(result.status().code()));
      outcome.set_message(std::string(result.status().message()));
    }
    --unanswered_;
    unanswered_octets_ -= octets;
    end = GoOn();
  }
  if (end.has_value()) Finish(*end);
}

void DeliverManyCall::OnWriteDone(bool ok) {
  std::optional<grpc::Status> end;
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) {  // Broken; the status reaches nobody.
      outcomes_.Clear();
      if (!end_.has_value()) end_ = absl::CancelledError("the call broke");
    }
    end = GoOn();
  }
  if (end.has_value()) Finish(*end);
}

void DeliverManyCall::End(const absl::Status& status) {
  std::optional<grpc::Status> end;
  {
    absl::MutexLock lock(&mutex_);
    if (!end_.has_value()) end_ = status;
    end = GoOn();
  }
  if (end.has_value()) Finish(*end);
}

void DeliverManyCall::EndAsBroken() { End(absl::UnavailableError("the store is stopping")); }

std::optional<grpc::Status> DeliverManyCall::GoOn() {
  if (finished_) return std::nullopt;
  if (!writing_ && outcomes_.outcomes_size() > 0) {
    writing_ = true;
    response_.Clear();
    response_.Swap(&outcomes_);
    StartWrite(&response_);
  }
  if (!end_.has_value()) {
    if (!reading_ && unanswered_octets_ < kMaxUnansweredOctets &&
        unanswered_ + outcomes_.outcomes_size() < kMaxUnanswered) {
      reading_ = true;
      StartRead(&request_);
    }
    return std::nullopt;
  }
  if (writing_ || unanswered_ > 0) return std::nullopt;
  finished_ = true;
  return rpc::ToGrpc(*end_);
}

void DeliverManyCall::OnDone() {
  calls_->Remove(this);
  delete this;
}

}  // namespace postern::store
