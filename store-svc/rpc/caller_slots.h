// How many calls of a kind each caller may have at a time.
#ifndef POSTERN_STORE_SVC_RPC_CALLER_SLOTS_H_
#define POSTERN_STORE_SVC_RPC_CALLER_SLOTS_H_

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace postern::store {

// Thread-safe. For each identity by itself, so that strangers' mail can't keep the users' out.
class CallerSlots {
 public:
  explicit CallerSlots(int each) : each_(each) {}

  // False: all of this caller's are taken.
  bool Take(absl::string_view caller) {
    absl::MutexLock lock(&mutex_);
    int& taken = taken_[caller];
    if (taken >= each_) return false;
    ++taken;
    return true;
  }

  void Give(absl::string_view caller) {
    absl::MutexLock lock(&mutex_);
    --taken_[caller];
  }

 private:
  const int each_;
  absl::Mutex mutex_;
  // As many entries as the access table has identities.
  absl::flat_hash_map<std::string, int> taken_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_RPC_CALLER_SLOTS_H_
