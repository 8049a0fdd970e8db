#include "services/net/descriptors.h"

#include <sys/resource.h>

#include <algorithm>

#include "services/telemetry/log.h"

namespace postern::net {

namespace {

// More than anybody has.
constexpr rlim_t kMost = 1 << 30;

}  // namespace

Descriptors::Descriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > kMost) limit.rlim_cur = kMost;
  most_ = std::max(1, static_cast<int>(limit.rlim_cur) - kReserve);
}

bool Descriptors::Take() {
  if (taken_.fetch_add(1, std::memory_order_relaxed) < most_) return true;
  taken_.fetch_sub(1, std::memory_order_relaxed);
  SayFull("as many connections as this process has descriptors for");
  return false;
}

void Descriptors::GiveBack() {
  // Said again only when there was ample room in between.
  if (taken_.fetch_sub(1, std::memory_order_relaxed) < most_ - most_ / 10) {
    full_.store(false, std::memory_order_relaxed);
  }
}

void Descriptors::SayFull(absl::string_view why) {
  if (full_.exchange(true, std::memory_order_relaxed)) return;
  telemetry::Log(
      telemetry::LogLevel::kWarning, "no room for more connections",
      {{"why", why}, {"connections", taken_.load(std::memory_order_relaxed)}, {"most", most_}});
}

}  // namespace postern::net
