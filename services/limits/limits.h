// Rates, greylist and known clients, counted over all replicas.
#ifndef POSTERN_SERVICES_LIMITS_LIMITS_H_
#define POSTERN_SERVICES_LIMITS_LIMITS_H_

#include <cstdint>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"

namespace postern::limits {

// `count` at once, and then one more each time that period / count has passed: the generic cell
// rate algorithm (GCRA, ITU-T I.371). Both are positive.
struct Rate {
  int64_t count = 0;
  absl::Duration period;
};

struct Charge {
  // What is counted: "connections:192.0.2.0/24".
  std::string key;
  Rate rate;
  // Negative: what was charged before is given back. 0 only asks.
  int64_t cost = 1;
  // Charged even when it is too much: it has happened already.
  bool unconditional = false;
};

struct Verdict {
  // Within the rate. When it is not, a conditional charge was not made.
  bool allowed = true;
  // How many more would be allowed now.
  int64_t left = 0;
  // Until one is allowed again; zero when one is.
  absl::Duration wait;

  friend bool operator==(const Verdict&, const Verdict&) = default;
};

// RFC 6647.
struct Greylisting {
  // Whoever tries again after this is let in,
  absl::Duration delay;
  // but not after this.
  absl::Duration retry_window;
  // How long it is let in since its last time.
  absl::Duration pass_lifetime;
};

template <typename T>
using Answer = absl::AnyInvocable<void(T)>;

// Thread-safe. Never fails: what can't be asked is counted here alone. Each answer comes once, soon
// (docs/CONFIGURATION.md, redis.timeout_milliseconds), on this thread or another; it must not
// block.
class Limits {
 public:
  virtual ~Limits() = default;

  virtual void Take(Charge charge, Answer<Verdict> done) = 0;

  // How long `key` (who, from whom, to whom) has to wait still; zero: it may pass.
  virtual void Greylist(std::string key, Greylisting greylisting, Answer<absl::Duration> done) = 0;

  // Keeps `key` for `lifetime`, and then it is forgotten.
  virtual void Remember(std::string key, absl::Duration lifetime) = 0;
  virtual void IsRemembered(std::string key, Answer<bool> done) = 0;
};

}  // namespace postern::limits

#endif  // POSTERN_SERVICES_LIMITS_LIMITS_H_
