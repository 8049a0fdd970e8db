// The jobs that the runner knows: which may start next, within the limits per destination and in
// all.
#ifndef POSTERN_RELAY_SVC_DOMAIN_DUE_WINDOW_H_
#define POSTERN_RELAY_SVC_DOMAIN_DUE_WINDOW_H_

#include <deque>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "relay-svc/domain/spool.h"

namespace postern::relay {

// A value; one thread.
class DueWindow {
 public:
  struct Limits {
    size_t jobs = 2000;
    size_t jobs_per_destination = 200;
    int running_remote = 50;
    int running_per_destination = 10;
    int running_local = 64;
  };
  enum class Added { kAdded, kKnown, kFull };

  explicit DueWindow(const Limits& limits) : limits_(limits) {}

  Added Add(const JobKey& key);
  // The next job to start, destinations in turn; it counts as running until Finish. nullopt: none
  // may start.
  std::optional<JobKey> Start();
  void Finish(const JobKey& key);

  size_t size() const { return known_.size(); }
  bool full() const { return known_.size() >= limits_.jobs; }
  int running() const { return running_local_ + running_remote_; }

 private:
  struct Destination {
    std::deque<std::string> waiting;
    int running = 0;
    // Stands in ready_local_ or ready_remote_.
    bool ready = false;
  };

  void MakeReady(const std::string& name, Destination& destination);

  const Limits limits_;
  absl::flat_hash_set<JobKey> known_;
  absl::flat_hash_map<std::string, Destination> destinations_;
  // Remote destinations with something that may start.
  std::deque<std::string> ready_remote_;
  int running_remote_ = 0;
  int running_local_ = 0;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_DUE_WINDOW_H_
