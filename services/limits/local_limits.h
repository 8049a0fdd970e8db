// Limits in this process alone: for one replica of everything, and while Redis is away.
#ifndef POSTERN_SERVICES_LIMITS_LOCAL_LIMITS_H_
#define POSTERN_SERVICES_LIMITS_LOCAL_LIMITS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "services/limits/limits.h"
#include "services/process/clock.h"

namespace postern::limits {

// Monotonic, whatever is done to the system's time.
process::Clock SteadyClock();

// Answers at once. When `max_keys` are known, those are forgotten that nobody asked for longest.
class LocalLimits final : public Limits {
 public:
  // A key costs some 200 octets.
  static constexpr size_t kMaxKeys = 200000;

  explicit LocalLimits(process::Clock clock = SteadyClock(), size_t max_keys = kMaxKeys);

  void Take(Charge charge, Answer<Verdict> done) override;
  void Greylist(std::string key, Greylisting greylisting, Answer<absl::Duration> done) override;
  void Remember(std::string key, absl::Duration lifetime) override;
  void IsRemembered(std::string key, Answer<bool> done) override;

  size_t size() const;

 private:
  struct Entry {
    int64_t value = 0;
    // Microseconds, as everything here.
    int64_t until = 0;
  };
  using Generation = absl::flat_hash_map<std::string, Entry>;

  std::optional<Entry> Find(absl::string_view key, int64_t now) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void Keep(absl::string_view key, Entry entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int64_t Now() const { return absl::ToUnixMicros(clock_()); }

  const process::Clock clock_;
  const size_t max_generation_;
  mutable absl::Mutex mutex_;
  // When the young one is full, the old one is dropped and the young one takes its place: the bound
  // costs no bookkeeping by entry.
  Generation young_ ABSL_GUARDED_BY(mutex_);
  Generation old_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::limits

#endif  // POSTERN_SERVICES_LIMITS_LOCAL_LIMITS_H_
