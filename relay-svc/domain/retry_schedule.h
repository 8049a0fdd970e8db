// When a recipient that could not be reached is tried again.
#ifndef POSTERN_RELAY_SVC_DOMAIN_RETRY_SCHEDULE_H_
#define POSTERN_RELAY_SVC_DOMAIN_RETRY_SCHEDULE_H_

#include <vector>

#include "absl/random/bit_gen_ref.h"
#include "absl/time/time.h"

namespace postern::relay {

// A value; any thread.
class RetrySchedule {
 public:
  // `waits` empty: 60 s, 2 min, 10 min, 1 h, 1 h (the predecessor's). The last one repeats.
  RetrySchedule(std::vector<absl::Duration> waits, absl::Duration lifetime);

  // The wait after attempt number `attempts` (from 1); after none (0: a part of the platform was
  // not there, and nobody was asked) 10 s, or the first wait if that is shorter. With up to a tenth
  // of jitter on top, so that what failed together is not tried together.
  absl::Duration Wait(int attempts, absl::BitGenRef random) const;

  // The next attempt of a recipient whose message came at `enqueued_at`: never later than the end
  // of its life, so that its sender is told in time.
  absl::Time NextAttempt(absl::Time enqueued_at, absl::Time now, int attempts,
                         absl::BitGenRef random) const;

  // When a message has been in the queue for its whole life.
  absl::Time Expiry(absl::Time enqueued_at) const { return enqueued_at + lifetime_; }
  // It has: no further attempt.
  bool Expired(absl::Time enqueued_at, absl::Time now) const;

 private:
  std::vector<absl::Duration> waits_;
  absl::Duration lifetime_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_RETRY_SCHEDULE_H_
