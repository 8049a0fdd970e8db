// Failed logins in /metrics: where they come from, and whom they are about.
#ifndef POSTERN_AUTH_SVC_RPC_LOGIN_FAILURES_H_
#define POSTERN_AUTH_SVC_RPC_LOGIN_FAILURES_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/telemetry/bounded_counters.h"

namespace postern::auth {

// Thread-safe. 50 networks and 50 accounts at most have a counter of their own at a time
// (services/telemetry/bounded_counters.h); more than that is one line on a graph: "other".
class LoginFailures {
 public:
  LoginFailures();

  // Credentials were refused. `account`: the address of an account that exists, or "": names that
  // are none of ours are "unknown", for anybody can choose them, and people type passwords there.
  void Count(absl::string_view client, absl::string_view account, absl::Time now);

 private:
  telemetry::BoundedCounters by_network_;
  telemetry::BoundedCounters by_account_;
  telemetry::Counter& unknown_network_;
  telemetry::Counter& unknown_account_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_RPC_LOGIN_FAILURES_H_
