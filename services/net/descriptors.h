// How many connections a process has room for.
#ifndef POSTERN_SERVICES_NET_DESCRIPTORS_H_
#define POSTERN_SERVICES_NET_DESCRIPTORS_H_

#include <atomic>

#include "absl/strings/string_view.h"

namespace postern::net {

// Connections of all listeners, against the descriptors that the process may open. Thread-safe.
class Descriptors {
 public:
  // Those of calls inwards, databases, logs, name look-ups are kept free for them.
  static constexpr int kReserve = 128;

  // By the soft limit of this moment (getrlimit(2)).
  Descriptors();
  int most() const { return most_; }

  // Room for one connection; false, and said, when there is none.
  bool Take();
  void GiveBack();
  // Logs it once for each time that it comes to this.
  void SayFull(absl::string_view why);

 private:
  int most_;
  std::atomic<int> taken_{0};
  std::atomic<bool> full_{false};
};

}  // namespace postern::net

#endif  // POSTERN_SERVICES_NET_DESCRIPTORS_H_
