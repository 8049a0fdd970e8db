#include "relay-svc/domain/due_window.h"

#include <utility>

namespace postern::relay {

void DueWindow::MakeReady(const std::string& name, Destination& destination) {
  if (name == kLocalDestination || destination.ready || destination.waiting.empty() ||
      destination.running >= limits_.running_per_destination) {
    return;
  }
  destination.ready = true;
  ready_remote_.push_back(name);
}

DueWindow::Added DueWindow::Add(const JobKey& key) {
  if (known_.contains(key)) return Added::kKnown;
  if (full()) return Added::kFull;
  Destination& destination = destinations_[key.destination];
  // Local jobs are quick: they may have the whole window.
  if (key.destination != kLocalDestination &&
      destination.waiting.size() + destination.running >= limits_.jobs_per_destination) {
    return Added::kFull;
  }
  known_.insert(key);
  destination.waiting.push_back(key.queue_id);
  MakeReady(key.destination, destination);
  return Added::kAdded;
}

std::optional<JobKey> DueWindow::Start() {
  if (running_local_ < limits_.running_local) {
    auto local = destinations_.find(kLocalDestination);
    if (local != destinations_.end() && !local->second.waiting.empty()) {
      JobKey key{std::move(local->second.waiting.front()), std::string(kLocalDestination)};
      local->second.waiting.pop_front();
      ++local->second.running;
      ++running_local_;
      return key;
    }
  }
  if (running_remote_ >= limits_.running_remote || ready_remote_.empty()) return std::nullopt;
  const std::string name = std::move(ready_remote_.front());
  ready_remote_.pop_front();
  Destination& destination = destinations_[name];
  destination.ready = false;
  JobKey key{std::move(destination.waiting.front()), name};
  destination.waiting.pop_front();
  ++destination.running;
  ++running_remote_;
  MakeReady(name, destination);
  return key;
}

void DueWindow::Finish(const JobKey& key) {
  known_.erase(key);
  --(key.destination == kLocalDestination ? running_local_ : running_remote_);
  auto found = destinations_.find(key.destination);
  --found->second.running;
  if (found->second.running == 0 && found->second.waiting.empty()) {
    destinations_.erase(found);
    return;
  }
  MakeReady(key.destination, found->second);
}

}  // namespace postern::relay
