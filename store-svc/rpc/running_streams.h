// The calls of a kind that stay open, for drain.
#ifndef POSTERN_STORE_SVC_RPC_RUNNING_STREAMS_H_
#define POSTERN_STORE_SVC_RPC_RUNNING_STREAMS_H_

#include <cstddef>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace postern::store {

// Thread-safe. Stream::EndAsBroken() ends the call soon, in a way that its client takes up again
// with another process; it must not call back.
template <typename Stream>
class RunningStreams {
 public:
  explicit RunningStreams(size_t limit) : limit_(limit) {}

  // UNAVAILABLE when draining, or when as many run as may.
  absl::Status Add(Stream* stream) {
    absl::MutexLock lock(&mutex_);
    if (draining_) return absl::UnavailableError("the store is draining");
    if (streams_.size() >= limit_) return absl::UnavailableError("too many calls of this kind");
    streams_.insert(stream);
    return absl::OkStatus();
  }

  // Waits while EndAll uses it.
  void Remove(Stream* stream) {
    absl::MutexLock lock(&mutex_);
    streams_.erase(stream);
  }

  void EndAll() {
    absl::MutexLock lock(&mutex_);
    draining_ = true;
    for (Stream* stream : streams_) stream->EndAsBroken();
  }

 private:
  const size_t limit_;
  absl::Mutex mutex_;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<Stream*> streams_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_RPC_RUNNING_STREAMS_H_
