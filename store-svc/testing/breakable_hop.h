// A TCP hop between a client and store-svc that can break, for tests.
#ifndef POSTERN_STORE_SVC_TESTING_BREAKABLE_HOP_H_
#define POSTERN_STORE_SVC_TESTING_BREAKABLE_HOP_H_

#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace postern::store {

// Listens on a free port and passes octets both ways.
class BreakableHop {
 public:
  explicit BreakableHop(int server_port);
  ~BreakableHop();

  int port() const { return port_; }
  // Closes every connection on both sides, in the middle of whatever they carry, and takes no more.
  void Break();

 private:
  void Accept();
  void Pass(int from, int to);

  const int server_port_;
  int listener_ = -1;
  int port_ = 0;
  absl::Mutex mutex_;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<int> sockets_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
  std::thread acceptor_;
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_TESTING_BREAKABLE_HOP_H_
