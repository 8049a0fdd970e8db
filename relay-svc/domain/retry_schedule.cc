#include "relay-svc/domain/retry_schedule.h"

#include <algorithm>
#include <utility>

#include "absl/random/distributions.h"

namespace postern::relay {
namespace {

constexpr absl::Duration kWaitAfterNone = absl::Seconds(10);

}  // namespace

RetrySchedule::RetrySchedule(std::vector<absl::Duration> waits, absl::Duration lifetime)
    : waits_(std::move(waits)), lifetime_(lifetime) {
  if (waits_.empty()) {
    waits_ = {absl::Seconds(60), absl::Minutes(2), absl::Minutes(10), absl::Hours(1),
              absl::Hours(1)};
  }
}

absl::Duration RetrySchedule::Wait(int attempts, absl::BitGenRef random) const {
  const size_t index = std::min<size_t>(std::max(attempts, 1) - 1, waits_.size() - 1);
  const absl::Duration wait =
      attempts < 1 ? std::min(kWaitAfterNone, waits_.front()) : waits_[index];
  return wait * (1.0 + absl::Uniform(random, 0.0, 0.1));
}

absl::Time RetrySchedule::NextAttempt(absl::Time enqueued_at, absl::Time now, int attempts,
                                      absl::BitGenRef random) const {
  return std::min(now + Wait(attempts, random), std::max(now, Expiry(enqueued_at)));
}

bool RetrySchedule::Expired(absl::Time enqueued_at, absl::Time now) const {
  return now >= Expiry(enqueued_at);
}

}  // namespace postern::relay
