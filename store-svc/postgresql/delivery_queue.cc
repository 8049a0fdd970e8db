#include "store-svc/postgresql/delivery_queue.h"

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/time/clock.h"
#include "services/telemetry/log.h"
#include "store-svc/domain/delivery_rules.h"

namespace postern::store {
namespace {

using storage::postgresql::Connection;
using storage::postgresql::Pool;

// Of one transaction: what a round trip carries, and what a writer holds in memory.
constexpr size_t kMaxGroup = 256;
constexpr size_t kMaxGroupOctets = 4 << 20;

}  // namespace

DeliveryQueue::DeliveryQueue(Pool* pool, const Options& options, process::Clock clock)
    : pool_(*pool), options_(options), clock_(std::move(clock)), metrics_("mail") {
  for (size_t i = 0; i < options_.writers; ++i) threads_.emplace_back([this] { Run(); });
}

DeliveryQueue::~DeliveryQueue() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void DeliveryQueue::Submit(std::unique_ptr<PendingDelivery> pending) {
  {
    absl::MutexLock lock(&mutex_);
    if (waiting_.size() < options_.max_waiting) {
      waiting_.push_back(std::move(pending));
      return;
    }
  }
  std::move(pending->done)(absl::UnavailableError("too many deliveries wait"));
}

std::vector<std::unique_ptr<PendingDelivery>> DeliveryQueue::TakeGroup() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(
      +[](DeliveryQueue* self) ABSL_EXCLUSIVE_LOCKS_REQUIRED(self->mutex_) {
        return self->stopping_ || !self->waiting_.empty();
      },
      this));
  std::vector<std::unique_ptr<PendingDelivery>> group;
  std::deque<std::unique_ptr<PendingDelivery>> left;
  absl::flat_hash_set<std::string> ids;
  size_t octets = 0;
  while (!waiting_.empty() && group.size() < kMaxGroup && octets < kMaxGroupOctets) {
    std::unique_ptr<PendingDelivery> next = std::move(waiting_.front());
    waiting_.pop_front();
    const bool alone = next->staged.has_value();
    const bool fits = group.empty() || (!alone && next->shard() == group.front()->shard());
    // A repetition meets the first one's outcome in the next group.
    if (!fits || !ids.insert(next->delivery.delivery_id).second) {
      left.push_back(std::move(next));
      continue;
    }
    octets += next->piece.octets.size();
    group.push_back(std::move(next));
    if (alone) break;
  }
  while (!left.empty()) {
    waiting_.push_front(std::move(left.back()));
    left.pop_back();
  }
  return group;
}

void DeliveryQueue::Run() {
  for (;;) {
    std::vector<std::unique_ptr<PendingDelivery>> group = TakeGroup();
    if (group.empty()) return;
    std::vector<PendingDelivery*> pending;
    for (const std::unique_ptr<PendingDelivery>& one : group) pending.push_back(one.get());
    Commit(pending);
    for (PendingDelivery* one : pending) std::move(one->done)(std::move(one->outcome));
  }
}

void DeliveryQueue::Commit(absl::Span<PendingDelivery* const> group) {
  const absl::Time start = absl::Now();
  // Repeated after a break: the ids say what was committed.
  const absl::Status status =
      pool_.Lend(Pool::OnBreak::kRepeat, [this, group](Connection& connection) {
        return CommitDeliveries(connection, group, options_.quota, clock_());
      });
  if (status.ok()) {
    metrics_.commits.Add();
    metrics_.group_size.Observe(static_cast<double>(group.size()));
    metrics_.commit_seconds.Observe(absl::ToDoubleSeconds(absl::Now() - start));
    return;
  }
  metrics_.failures.Add();
  telemetry::Log(telemetry::LogLevel::kError, "commit failed",
                 {{"database", "mail"}, {"status", status.ToString()}});
  // What is wrong with one is not the others' fault. ABORTED: locks were not to be had in time.
  const bool may_be_one = !absl::IsUnavailable(status) && !absl::IsResourceExhausted(status) &&
                          !absl::IsAborted(status);
  if (may_be_one && group.size() > 1) {
    for (PendingDelivery* const& one : group) Commit(absl::MakeConstSpan(&one, 1));
    return;
  }
  const absl::Status answer =
      absl::IsAborted(status) ? absl::UnavailableError(status.message()) : WithoutFullDisk(status);
  for (PendingDelivery* one : group) one->outcome = answer;
}

}  // namespace postern::store
