#include "auth-svc/domain/freshness.h"

#include <algorithm>
#include <utility>

namespace postern::auth {

Freshness::Freshness(process::Clock clock, absl::Duration lifetime, size_t max_addresses)
    : clock_(std::move(clock)), lifetime_(lifetime), max_addresses_(max_addresses) {}

bool Freshness::IsFresh(const Address& address) const {
  const absl::Time now = clock_();
  absl::MutexLock lock(&mutex_);
  const auto found = by_address_.find(address);
  if (found == by_address_.end()) return false;
  const Answer& answer = *found->second;
  const absl::Duration age = now - answer.asked;
  if (age < lifetime_ && watched_since_ == absl::InfiniteFuture()) return true;
  // Whoever was nowhere may be in what changed.
  if (answer.id.empty() && answer.changes != changes_) return false;
  return age < (answer.asked >= watched_since_ ? kWatchedLifetime : lifetime_);
}

Freshness::Question::Question(Freshness& freshness)
    : freshness_(freshness), asked_(freshness.clock_()) {
  absl::MutexLock lock(&freshness_.mutex_);
  freshness_.questions_.insert(this);
}

Freshness::Question::~Question() {
  absl::MutexLock lock(&freshness_.mutex_);
  freshness_.questions_.erase(this);
}

void Freshness::Question::Answered(const Address& address, absl::string_view id) {
  Freshness& all = freshness_;
  absl::MutexLock lock(&all.mutex_);
  if (const auto present = all.by_address_.find(address); present != all.by_address_.end()) {
    all.Drop(present->second);
  }
  if (all_changed_ || (id.empty() ? !changed_.empty() : changed_.contains(id))) return;
  if (all.answers_.size() >= all.max_addresses_) all.Drop(all.answers_.begin());
  all.answers_.push_back({address, std::string(id), asked_, all.changes_});
  all.by_address_[address] = std::prev(all.answers_.end());
  if (!id.empty()) all.by_id_[id].push_back(address);
}

void Freshness::Changed(absl::string_view id) {
  absl::MutexLock lock(&mutex_);
  ++changes_;
  for (Question* question : questions_) question->changed_.emplace(id);
  const auto known = by_id_.find(id);
  if (known == by_id_.end()) return;
  // Drop changes the list.
  const std::vector<Address> addresses = known->second;
  for (const Address& address : addresses) Drop(by_address_.at(address));
}

void Freshness::ChangedAll() {
  absl::MutexLock lock(&mutex_);
  ++changes_;
  for (Question* question : questions_) question->all_changed_ = true;
  answers_.clear();
  by_address_.clear();
  by_id_.clear();
}

void Freshness::SetWatched(bool watched) {
  const absl::Time now = clock_();
  absl::MutexLock lock(&mutex_);
  watched_since_ = watched ? now : absl::InfiniteFuture();
}

size_t Freshness::size() const {
  absl::MutexLock lock(&mutex_);
  return answers_.size();
}

void Freshness::Drop(Answers::iterator answer) {
  if (!answer->id.empty()) {
    const auto named = by_id_.find(answer->id);
    std::vector<Address>& addresses = named->second;
    addresses.erase(std::find(addresses.begin(), addresses.end(), answer->address));
    if (addresses.empty()) by_id_.erase(named);
  }
  by_address_.erase(answer->address);
  answers_.erase(answer);
}

}  // namespace postern::auth
