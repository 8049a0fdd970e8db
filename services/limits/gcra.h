// The arithmetic of a rate, in whole microseconds, so that Lua's numbers (doubles) hold it exactly:
// what stands here stands in redis_limits.cc again.
#ifndef POSTERN_SERVICES_LIMITS_GCRA_H_
#define POSTERN_SERVICES_LIMITS_GCRA_H_

#include <algorithm>
#include <cstdint>

#include "services/limits/limits.h"

namespace postern::limits {

// What one costs. A rate of more than a million a second counts as that.
inline int64_t IntervalOf(const Rate& rate) {
  return std::max<int64_t>(absl::ToInt64Microseconds(rate.period) / rate.count, 1);
}

// The time that it takes until all is as new.
inline int64_t WindowOf(const Rate& rate) { return IntervalOf(rate) * rate.count; }

// More than twice the window's makes no difference.
inline int64_t CostOf(const Charge& charge) {
  return std::clamp(charge.cost, -2 * charge.rate.count, 2 * charge.rate.count);
}

// `arrival`: when all is as new (the theoretical arrival time less one interval); absent or past:
// it is. What is charged beyond the window is no more than another window: whoever did far too much
// pays, but not for ever.
inline Verdict Apply(const Charge& charge, int64_t now, int64_t* arrival) {
  const int64_t interval = IntervalOf(charge.rate);
  const int64_t window = WindowOf(charge.rate);
  const int64_t cost = CostOf(charge);
  const int64_t before = std::max(*arrival, now);
  const int64_t after = std::clamp(before + cost * interval, now, now + 2 * window);
  Verdict verdict;
  verdict.allowed = after - now <= window;
  *arrival = verdict.allowed || charge.unconditional || cost <= 0 ? after : before;
  const int64_t room = now + window - *arrival;
  verdict.left = std::max<int64_t>(room / interval, 0);
  if (cost <= 0) verdict.allowed = verdict.left > 0;
  verdict.wait = absl::Microseconds(std::max<int64_t>(interval - room, 0));
  return verdict;
}

}  // namespace postern::limits

#endif  // POSTERN_SERVICES_LIMITS_GCRA_H_
