#include "services/limits/local_limits.h"

#include <chrono>
#include <utility>

#include "services/limits/gcra.h"

namespace postern::limits {

process::Clock SteadyClock() {
  return [] {
    return absl::UnixEpoch() +
           absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
  };
}

LocalLimits::LocalLimits(process::Clock clock, size_t max_keys)
    : clock_(std::move(clock)), max_generation_(max_keys / 2) {}

std::optional<LocalLimits::Entry> LocalLimits::Find(absl::string_view key, int64_t now) const {
  for (const Generation* generation : {&young_, &old_}) {
    const auto found = generation->find(key);
    if (found == generation->end()) continue;
    if (found->second.until <= now) return std::nullopt;
    return found->second;
  }
  return std::nullopt;
}

void LocalLimits::Keep(absl::string_view key, Entry entry) {
  if (young_.size() >= max_generation_ && !young_.contains(key)) {
    old_ = std::exchange(young_, {});
  }
  young_.insert_or_assign(std::string(key), entry);
}

void LocalLimits::Take(Charge charge, Answer<Verdict> done) {
  const int64_t now = Now();
  Verdict verdict;
  {
    absl::MutexLock lock(&mutex_);
    int64_t arrival = Find(charge.key, now).value_or(Entry{}).value;
    verdict = Apply(charge, now, &arrival);
    if (charge.cost != 0) Keep(charge.key, {arrival, arrival});
  }
  done(verdict);
}

void LocalLimits::Greylist(std::string key, Greylisting greylisting, Answer<absl::Duration> done) {
  const int64_t now = Now();
  const int64_t delay = absl::ToInt64Microseconds(greylisting.delay);
  int64_t wait = 0;
  {
    absl::MutexLock lock(&mutex_);
    const std::optional<Entry> seen = Find(key, now);
    if (!seen.has_value()) {
      wait = delay;
      Keep(key, {now, now + absl::ToInt64Microseconds(greylisting.retry_window)});
    } else if (wait = delay - (now - seen->value); wait <= 0) {
      wait = 0;
      Keep(key, {seen->value, now + absl::ToInt64Microseconds(greylisting.pass_lifetime)});
    }
  }
  done(absl::Microseconds(wait));
}

void LocalLimits::Remember(std::string key, absl::Duration lifetime) {
  const int64_t now = Now();
  absl::MutexLock lock(&mutex_);
  Keep(key, {now, now + absl::ToInt64Microseconds(lifetime)});
}

void LocalLimits::IsRemembered(std::string key, Answer<bool> done) {
  const int64_t now = Now();
  bool known;
  {
    absl::MutexLock lock(&mutex_);
    known = Find(key, now).has_value();
  }
  done(known);
}

size_t LocalLimits::size() const {
  absl::MutexLock lock(&mutex_);
  return young_.size() + old_.size();
}

}  // namespace postern::limits
