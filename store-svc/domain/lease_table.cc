#include "store-svc/domain/lease_table.h"

#include <utility>

namespace postern::store {
namespace {

// A process can take 2^40 leases, and 2^24 processes can follow each other.
constexpr int kEpochShift = 40;

absl::Status Stale() { return absl::FailedPreconditionError("the lease's fence is stale"); }

absl::Status InUse() { return absl::AbortedError("another session has the maildrop"); }

}  // namespace

LeaseTable::LeaseTable(Options options, process::Clock clock)
    : options_(options),
      clock_(std::move(clock)),
      started_(clock_()),
      last_fence_(options.epoch << kEpochShift) {}

bool LeaseTable::OfFormerProcess(uint64_t fence) const {
  return fence != 0 && (fence >> kEpochShift) < options_.epoch;
}

absl::StatusOr<LeaseTable::Hold> LeaseTable::Add(const MailboxId& mailbox, uint64_t fence,
                                                 absl::string_view credential) {
  if (leases_.size() >= options_.max_leases) {
    return absl::ResourceExhaustedError("too many maildrops are open");
  }
  Lease lease{.mailbox = mailbox, .credential = std::string(credential), .holder = ++last_holder_};
  const Hold hold{mailbox, fence, lease.holder};
  leases_.emplace(fence, std::move(lease));
  fences_[mailbox] = fence;
  return hold;
}

absl::StatusOr<LeaseTable::Hold> LeaseTable::TakeNow(const MailboxId& mailbox,
                                                     absl::string_view credential) {
  const absl::Time now = clock_();
  absl::MutexLock lock(&mutex_);
  RemoveExpired(now);
  if (fences_.contains(mailbox)) return InUse();
  return Add(mailbox, ++last_fence_, credential);
}

absl::StatusOr<LeaseTable::Hold> LeaseTable::ResumeNow(uint64_t fence,
                                                       absl::string_view credential) {
  const absl::Time now = clock_();
  absl::MutexLock lock(&mutex_);
  RemoveExpired(now);
  absl::StatusOr<Lease*> found = FindLive(fence, credential);
  if (absl::IsFailedPrecondition(found.status())) {
    return absl::NotFoundError(found.status().message());
  }
  if (!found.ok()) return found.status();
  Lease& lease = **found;
  lease.holder = ++last_holder_;
  lease.expires = absl::InfiniteFuture();
  return Hold{lease.mailbox, fence, lease.holder};
}

absl::StatusOr<LeaseTable::Hold> LeaseTable::ResumeFormerNow(const MailboxId& mailbox,
                                                             uint64_t fence,
                                                             absl::string_view credential) {
  const absl::Time now = clock_();
  absl::MutexLock lock(&mutex_);
  RemoveExpired(now);
  if (!OfFormerProcess(fence) || now >= started_ + options_.grace) return InUse();
  if (auto taken = fences_.find(mailbox); taken != fences_.end()) {
    const uint64_t other = taken->second;
    if (!OfFormerProcess(other) || other >= fence || leases_.at(other).pins > 0) return InUse();
    Remove(other);
  }
  return Add(mailbox, fence, credential);
}

absl::StatusOr<LeaseTable::Lease*> LeaseTable::FindLive(uint64_t fence,
                                                        absl::string_view credential) {
  auto found = leases_.find(fence);
  if (found == leases_.end() || found->second.ended) return Stale();
  if (found->second.credential != credential) {
    return absl::UnauthenticatedError("the lease was taken with another credential");
  }
  return &found->second;
}

absl::StatusOr<MailboxId> LeaseTable::FindNow(uint64_t fence, absl::string_view credential) {
  const absl::Time now = clock_();
  absl::MutexLock lock(&mutex_);
  RemoveExpired(now);
  absl::StatusOr<Lease*> found = FindLive(fence, credential);
  if (!found.ok()) return found.status();
  return (*found)->mailbox;
}

absl::StatusOr<MailboxId> LeaseTable::PinNow(uint64_t fence, absl::string_view credential) {
  const absl::Time now = clock_();
  absl::MutexLock lock(&mutex_);
  RemoveExpired(now);
  absl::StatusOr<Lease*> found = FindLive(fence, credential);
  if (!found.ok()) return found.status();
  ++(*found)->pins;
  return (*found)->mailbox;
}

void LeaseTable::Unpin(uint64_t fence) {
  const absl::Time now = clock_();
  absl::MutexLock lock(&mutex_);
  auto found = leases_.find(fence);
  if (found == leases_.end() || --found->second.pins > 0) return;
  if (found->second.ended || found->second.expires <= now) Remove(fence);
}

std::optional<LeaseTable::Ended> LeaseTable::EndNow(const Hold& hold) {
  absl::MutexLock lock(&mutex_);
  auto found = leases_.find(hold.fence);
  if (found == leases_.end() || found->second.holder != hold.holder) return std::nullopt;
  Ended ended{hold, found->second.credential};
  if (found->second.pins > 0) {
    found->second.ended = true;
  } else {
    Remove(hold.fence);
  }
  return ended;
}

void LeaseTable::BreakNow(const Hold& hold) {
  absl::MutexLock lock(&mutex_);
  auto found = leases_.find(hold.fence);
  if (found == leases_.end() || found->second.holder != hold.holder) return;
  Break(hold.fence, found->second);
}

void LeaseTable::PutBackNow(Ended ended) {
  absl::MutexLock lock(&mutex_);
  auto found = leases_.find(ended.hold.fence);
  if (found != leases_.end()) {
    // Pinned, or not removed yet; or taken up again meanwhile, and then it is another stream's.
    if (found->second.holder != ended.hold.holder) return;
    found->second.ended = false;
    Break(ended.hold.fence, found->second);
    return;
  }
  if (fences_.contains(ended.hold.mailbox)) return;
  if (absl::StatusOr<Hold> hold = Add(ended.hold.mailbox, ended.hold.fence, ended.credential);
      hold.ok()) {
    Break(hold->fence, leases_.at(hold->fence));
  }
}

void LeaseTable::Break(uint64_t fence, Lease& lease) {
  lease.expires = clock_() + options_.grace;
  expiries_.emplace_back(lease.expires, fence);
}

void LeaseTable::Remove(uint64_t fence) {
  auto found = leases_.find(fence);
  fences_.erase(found->second.mailbox);
  leases_.erase(found);
}

void LeaseTable::RemoveExpired(absl::Time now) {
  while (!expiries_.empty() && expiries_.front().first <= now) {
    auto found = leases_.find(expiries_.front().second);
    expiries_.pop_front();
    // Taken up again, broken again later, or kept by a pin, whose end removes it.
    if (found == leases_.end() || found->second.expires > now || found->second.pins > 0) continue;
    Remove(found->first);
  }
}

void LeaseTable::Take(const MailboxId& mailbox, absl::string_view credential, HoldDone done) {
  std::move(done)(TakeNow(mailbox, credential));
}

void LeaseTable::Resume(uint64_t fence, absl::string_view credential, TokenMailbox, HoldDone done) {
  std::move(done)(ResumeNow(fence, credential));
}

void LeaseTable::ResumeFormer(const MailboxId& mailbox, uint64_t fence,
                              absl::string_view credential, HoldDone done) {
  std::move(done)(ResumeFormerNow(mailbox, fence, credential));
}

void LeaseTable::Find(uint64_t fence, absl::string_view credential, TokenMailbox,
                      MailboxDone done) {
  std::move(done)(FindNow(fence, credential));
}

void LeaseTable::Pin(uint64_t fence, absl::string_view credential, TokenMailbox, MailboxDone done) {
  std::move(done)(PinNow(fence, credential));
}

void LeaseTable::EndSession(const Hold& hold, absl::AnyInvocable<void(std::optional<Ended>)> done) {
  std::move(done)(EndNow(hold));
}

void LeaseTable::BreakStream(const Hold& hold, Done done) {
  BreakNow(hold);
  std::move(done)();
}

void LeaseTable::PutBackBroken(Ended ended, Done done) {
  PutBackNow(std::move(ended));
  std::move(done)();
}

size_t LeaseTable::size() const {
  absl::MutexLock lock(&mutex_);
  return leases_.size();
}

}  // namespace postern::store
