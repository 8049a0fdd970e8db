// Of which addresses an external directory's answer is still taken for true.
#ifndef POSTERN_AUTH_SVC_DOMAIN_FRESHNESS_H_
#define POSTERN_AUTH_SVC_DOMAIN_FRESHNESS_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "auth-svc/domain/canonical.h"
#include "services/process/clock.h"

namespace postern::auth {

// Thread-safe. Of one external directory. An answer is true for `lifetime`; while the directory
// tells of every change, for `kWatchedLifetime` or until it tells.
class Freshness {
 public:
  static constexpr absl::Duration kWatchedLifetime = absl::Hours(1);

  // Of `max_addresses` the one that was asked first goes.
  Freshness(process::Clock clock, absl::Duration lifetime, size_t max_addresses);

  bool IsFresh(const Address& address) const;

  // A question that is under way: an answer that was made before a change, and comes after it, is
  // not taken. Must not outlive the Freshness.
  class Question {
   public:
    explicit Question(Freshness& freshness);
    ~Question();
    Question(const Question&) = delete;
    Question& operator=(const Question&) = delete;
    // `id`: of the entry that was found; "" when there is nothing.
    void Answered(const Address& address, absl::string_view id);

   private:
    friend class Freshness;
    Freshness& freshness_;
    const absl::Time asked_;
    // By the directory's word since then.
    absl::flat_hash_set<std::string> changed_;
    bool all_changed_ = false;
  };

  // By the directory's word: the entry is new, another, or gone.
  void Changed(absl::string_view id);
  // The same, and it does not say which.
  void ChangedAll();
  // Whether the directory tells of every change from now on.
  void SetWatched(bool watched);

  size_t size() const;

 private:
  struct Answer {
    Address address;
    std::string id;
    absl::Time asked;
    // Of nothing: how many changes there had been.
    uint64_t changes = 0;
  };
  using Answers = std::list<Answer>;

  void Drop(Answers::iterator answer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const process::Clock clock_;
  const absl::Duration lifetime_;
  const size_t max_addresses_;
  mutable absl::Mutex mutex_;
  // Since when every change was told of; the infinite future: not now.
  absl::Time watched_since_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  uint64_t changes_ ABSL_GUARDED_BY(mutex_) = 0;
  // Oldest first.
  Answers answers_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<Address, Answers::iterator> by_address_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::vector<Address>> by_id_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<Question*> questions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_FRESHNESS_H_
