// What a gateway remembers of relay-svc's answers, so that the usual message costs one RPC.
#ifndef POSTERN_SERVICES_CLIENTS_POLICY_MEMORY_H_
#define POSTERN_SERVICES_CLIENTS_POLICY_MEMORY_H_

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "proto/postern/relay/v1/policy.pb.h"

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

// Decides what is kept. A refusal of a network is kept for a second at most: that makes a flood
// from there cheap and still ends soon after the policy changes. A refusal of a recipient is not
// kept: a mailbox that was just made, or has room again, takes mail at once. Thread-safe.
class PolicyMemory {
 public:
  PolicyMemory();
  ~PolicyMemory();

  // `network`: net::NetworkOf; empty: nothing is remembered for it. The answer, when it holds for
  // one more event of `request`, which is counted then; or nullopt, and what was counted since the
  // last time is in `request`, which has to be asked.
  std::optional<relay::v1::CheckConnectionResponse> FindConnection(
      absl::string_view network, relay::v1::CheckConnectionRequest* request, SteadyTime now);
  void KeepConnection(absl::string_view network, const relay::v1::CheckConnectionResponse& response,
                      SteadyTime now);
  std::shared_ptr<const relay::v1::CheckRecipientResponse> FindRecipient(
      absl::string_view recipient, SteadyTime now) const;
  void KeepRecipient(absl::string_view recipient, const relay::v1::CheckRecipientResponse& response,
                     SteadyTime now);

 private:
  // What a network was told, and what it has done since.
  struct Connections;

  AnswerTable<Connections> connections_;
  AnswerTable<const relay::v1::CheckRecipientResponse> recipients_;
};

}  // namespace postern::clients

#endif  // POSTERN_SERVICES_CLIENTS_POLICY_MEMORY_H_
