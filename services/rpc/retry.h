// When a call that failed with UNAVAILABLE goes out again.
#ifndef POSTERN_SERVICES_RPC_RETRY_H_
#define POSTERN_SERVICES_RPC_RETRY_H_

#include <optional>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/rpc/call_context.h"

namespace postern::rpc {

// `call`, with a deadline in any case: 30 s from now when it has none.
rpc::CallContext WithDeadline(rpc::CallContext call);

// The wait before attempt `attempt` (1: the first repetition): doubles from 20 ms to 1 s, and is
// drawn from its upper half, so that gateways which lost the same server don't come back together.
absl::Duration RetryDelay(int attempt);

// What a rolling update or a broken network looks like; everything else is an answer.
bool IsBrokenHop(const absl::Status& status);

// Until when a call that began at `begun` is tried again: its deadline, or the end of its patience.
absl::Time RetryUntil(const CallContext& call, absl::Time begun);
// The same, now that an attempt that began at `attempt` has failed; the past when it took so long
// that the server has waited in vain for what its other replicas have no more of (a database that
// does not commit), and somebody waits for the answer.
absl::Time RetryUntil(const CallContext& call, absl::Time begun, absl::Time attempt);

// Whether an attempt that starts after `delay` still has time to succeed.
bool WorthRetrying(absl::Duration delay, absl::Time until);

// The attempts of one call, from the moment that this is made. Not thread-safe: the attempts follow
// one another.
class Repetitions {
 public:
  absl::Time begun() const { return begun_; }

  // An attempt begins, with this context: the call's own, and of a repetition that somebody waits
  // for one that ends 1 s after its patience.
  CallContext Begin(const CallContext& call);
  // The attempt has failed: after which delay the next one is worth while, if any.
  std::optional<absl::Duration> Next(const CallContext& call);

 private:
  absl::Time begun_ = absl::Now();
  absl::Time attempt_ = begun_;
  int count_ = 0;
};

// Runs `job` once, on a thread of gRPC's.
void RunAfter(absl::Duration delay, absl::AnyInvocable<void()> job);

}  // namespace postern::rpc

#endif  // POSTERN_SERVICES_RPC_RETRY_H_
