#include "services/telemetry/bounded_counters.h"

#include <algorithm>

namespace postern::telemetry {

BoundedCounters::BoundedCounters(absl::string_view name, absl::string_view help,
                                 absl::string_view label, size_t max_values, absl::Duration idle)
    : name_(name),
      help_(help),
      label_(label),
      max_values_(max_values),
      idle_(idle),
      other_(CounterOf("other")) {}

Counter& BoundedCounters::CounterOf(absl::string_view value) const {
  return GetCounter(name_, help_, {{label_, std::string(value)}});
}

void BoundedCounters::Add(absl::string_view value, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  auto place = std::find_if(places_.begin(), places_.end(),
                            [value](const Place& p) { return p.value == value; });
  if (place == places_.end()) {
    if (places_.size() < max_values_) {
      place = places_.emplace(places_.end());
    } else {
      place = std::min_element(places_.begin(), places_.end(),
                               [](const Place& a, const Place& b) { return a.last < b.last; });
      if (place == places_.end() || now - place->last < idle_) {
        other_.Add();
        return;
      }
      DropCounter(name_, {{label_, place->value}});
    }
    *place = {std::string(value), &CounterOf(value), now};
  }
  place->counter->Add();
  place->last = now;
}

}  // namespace postern::telemetry
