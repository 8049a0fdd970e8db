#include "services/rpc/retry.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/random/random.h"
#include "absl/time/clock.h"
#include "grpcpp/alarm.h"

namespace postern::rpc {

namespace {

constexpr absl::Duration kDefaultTimeout = absl::Seconds(30);
constexpr absl::Duration kFirstDelay = absl::Milliseconds(20);
constexpr absl::Duration kLongestDelay = absl::Seconds(1);
// More than a silent replica takes to be left, less than a service waits for a silent database.
constexpr absl::Duration kLongAttempt = absl::Milliseconds(2750);
constexpr absl::Duration kLastAttempt = absl::Seconds(1);
constexpr absl::Duration kShortestAttempt = absl::Milliseconds(50);

}  // namespace

rpc::CallContext WithDeadline(rpc::CallContext call) {
  if (call.deadline == absl::InfiniteFuture()) call.deadline = absl::Now() + kDefaultTimeout;
  return call;
}

absl::Duration RetryDelay(int attempt) {
  const absl::Duration longest =
      std::min(kLongestDelay, kFirstDelay * (1 << std::clamp(attempt - 1, 0, 10)));
  thread_local absl::InsecureBitGen random;
  return longest * absl::Uniform(random, 0.5, 1.0);
}

bool IsBrokenHop(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsCancelled(status);
}

absl::Time RetryUntil(const CallContext& call, absl::Time begun) {
  return std::min(call.deadline, begun + call.patience);
}

absl::Time RetryUntil(const CallContext& call, absl::Time begun, absl::Time attempt) {
  const bool somebody_waits = call.patience != absl::InfiniteDuration();
  return somebody_waits && absl::Now() - attempt > kLongAttempt ? absl::InfinitePast()
                                                                : RetryUntil(call, begun);
}

bool WorthRetrying(absl::Duration delay, absl::Time until) {
  return absl::Now() + delay + kShortestAttempt < until;
}

CallContext Repetitions::Begin(const CallContext& call) {
  attempt_ = absl::Now();
  CallContext attempt = call;
  if (count_ > 0) {
    attempt.deadline = std::min(call.deadline, begun_ + call.patience + kLastAttempt);
  }
  return attempt;
}

std::optional<absl::Duration> Repetitions::Next(const CallContext& call) {
  const absl::Duration delay = RetryDelay(++count_);
  if (!WorthRetrying(delay, RetryUntil(call, begun_, attempt_))) return std::nullopt;
  return delay;
}

void RunAfter(absl::Duration delay, absl::AnyInvocable<void()> job) {
  // The alarm must outlive both Set and its callback, whichever ends last; std::function wants a
  // callable that can be copied.
  struct Timer {
    grpc::Alarm alarm;
    absl::AnyInvocable<void()> job;
  };
  auto timer = std::make_shared<Timer>();
  timer->job = std::move(job);
  timer->alarm.Set(absl::ToChronoTime(absl::Now() + delay), [held = timer](bool /*fired*/) mutable {
    // The alarm keeps this function: moving the pointer out breaks the cycle.
    const std::shared_ptr<Timer> self = std::move(held);
    self->job();
  });
}

}  // namespace postern::rpc
