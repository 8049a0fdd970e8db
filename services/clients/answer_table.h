// Answers that are worth keeping for a moment.
#ifndef POSTERN_SERVICES_CLIENTS_ANSWER_TABLE_H_
#define POSTERN_SERVICES_CLIENTS_ANSWER_TABLE_H_

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace postern::clients {

using SteadyTime = std::chrono::steady_clock::time_point;

// Answers by key, each until its time is up; at most `max_entries`. Two generations: when the young
// one is half of that, the old one is dropped and the young one takes its place, so that the bound
// costs no bookkeeping per entry. Thread-safe.
template <typename Answer>
class AnswerTable {
 public:
  explicit AnswerTable(size_t max_entries) : max_generation_(max_entries / 2) {}

  // Null when it is not known, or no longer.
  std::shared_ptr<Answer> Find(absl::string_view key, SteadyTime now) const {
    absl::MutexLock lock(&mutex_);
    for (const Generation* generation : {&young_, &old_}) {
      const auto found = generation->find(key);
      if (found == generation->end()) continue;
      return now < found->second.until ? found->second.answer : nullptr;
    }
    return nullptr;
  }

  void Keep(absl::string_view key, std::shared_ptr<Answer> answer, SteadyTime until) {
    Generation dropped;  // Freed after the lock.
    absl::MutexLock lock(&mutex_);
    if (young_.size() >= max_generation_) {
      dropped = std::exchange(old_, std::exchange(young_, {}));
    }
    young_.insert_or_assign(std::string(key), Entry{until, std::move(answer)});
  }

 private:
  struct Entry {
    SteadyTime until;
    std::shared_ptr<Answer> answer;
  };
  using Generation = absl::flat_hash_map<std::string, Entry>;

  const size_t max_generation_;
  mutable absl::Mutex mutex_;
  Generation young_ ABSL_GUARDED_BY(mutex_);
  Generation old_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::clients

#endif  // POSTERN_SERVICES_CLIENTS_ANSWER_TABLE_H_
