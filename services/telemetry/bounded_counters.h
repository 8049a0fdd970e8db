// Counters by a label whose values outsiders choose, such as networks or accounts that are
// attacked.
#ifndef POSTERN_SERVICES_TELEMETRY_BOUNDED_COUNTERS_H_
#define POSTERN_SERVICES_TELEMETRY_BOUNDED_COUNTERS_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/telemetry/metrics.h"

namespace postern::telemetry {

// Thread-safe; takes some microseconds. /metrics has at most `max_values` values at a time, and
// "other" for the rest. First come, first served: a value has its counter to itself until it has
// not counted for `idle` and another value wants the place. So no counter ever goes down or takes
// what was another's (as the counts of a heavy hitters' sketch would), and whoever changes values
// as fast as may be makes `max_values` new ones each `idle`. `idle` is many scrapes long: nothing
// that was counted goes unseen.
class BoundedCounters {
 public:
  // `name` as GetCounter's, of no other metric; "other" is there at once.
  BoundedCounters(absl::string_view name, absl::string_view help, absl::string_view label,
                  size_t max_values, absl::Duration idle);

  // One more of `value`, which is short, at the time `now`.
  void Add(absl::string_view value, absl::Time now);

 private:
  struct Place {
    std::string value;
    Counter* counter;
    absl::Time last;
  };

  Counter& CounterOf(absl::string_view value) const;

  const std::string name_;
  const std::string help_;
  const std::string label_;
  const size_t max_values_;
  const absl::Duration idle_;
  Counter& other_;
  absl::Mutex mutex_;
  // Few enough to be searched one by one.
  std::vector<Place> places_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::telemetry

#endif  // POSTERN_SERVICES_TELEMETRY_BOUNDED_COUNTERS_H_
