// Wall time as a dependency, so that tests own it.
#ifndef POSTERN_SERVICES_PROCESS_CLOCK_H_
#define POSTERN_SERVICES_PROCESS_CLOCK_H_

#include <functional>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace postern::process {

// Any thread may call it.
using Clock = std::function<absl::Time()>;

inline Clock SystemClock() {
  return [] { return absl::Now(); };
}

}  // namespace postern::process

#endif  // POSTERN_SERVICES_PROCESS_CLOCK_H_
