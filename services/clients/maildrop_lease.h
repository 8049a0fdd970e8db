// The lease on a maildrop: the Open stream whose life it is, taken up again when the stream breaks,
// and what that stream carries.
#ifndef POSTERN_SERVICES_CLIENTS_MAILDROP_LEASE_H_
#define POSTERN_SERVICES_CLIENTS_MAILDROP_LEASE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/postern/store/v1/maildrop.grpc.pb.h"
#include "services/async/done.h"
#include "services/clients/store_client.h"
#include "services/rpc/call_context.h"
#include "services/rpc/retry.h"

namespace postern::clients {

class LeaseStream;

// Thread-safe; always held by shared_ptr. Open → held ⇄ resuming → lost or released. The store
// keeps the lease of a broken stream for 10 s, so a break is answered at once, not when the client
// sends its next command: it may think for longer than that.
class MaildropLease : public std::enable_shared_from_this<MaildropLease> {
 public:
  using Stub = store::v1::MaildropService::Stub;

  // Who has the lease: goes into every request that builds on it.
  struct Holder {
    rpc::TraceContext trace;
    std::string token;
    std::string session_nonce;
  };

  MaildropLease(std::shared_ptr<Stub> stub, Holder holder)
      : stub_(std::move(stub)), holder_(std::move(holder)) {}

  // Once, before anything else; `call` has a deadline. Returns the listing. Tried once more when
  // the store can't be reached: another replica may answer.
  void Open(const rpc::CallContext& call, async::Done<MaildropListing> done);
  // The fence as soon as the lease is held: at once, or after at most 10 s of trying to take it up
  // again; or why it is lost. UNAVAILABLE: it is not held by `until`, which a person waits for.
  void WhenHeld(absl::Time until, async::Done<uint64_t> done);
  // Small messages over the open stream. UNAVAILABLE: the stream broke, or has a fetch to answer.
  void Fetch(absl::Time until, store::v1::OpenRequest::Fetch fetch,
             async::Done<store::v1::OpenResponse::Fetched> done);
  // Lets go; nothing is deleted by it. `done` runs when the store has confirmed, or at `deadline`
  // (then the store frees it by itself).
  void Release(absl::Time deadline, absl::AnyInvocable<void()> done);

  const std::shared_ptr<Stub>& stub() const { return stub_; }
  const Holder& holder() const { return holder_; }

 private:
  struct Waiting {
    uint64_t number;
    async::Done<uint64_t> done;
  };
  enum class State { kOpening, kHeld, kResuming, kLost, kReleased };

  void StartStream(uint64_t resume_fence, absl::Time deadline, async::Done<MaildropListing> done);
  void Ended(const absl::Status& status);
  void Resume();
  void Resumed(const absl::Status& status);
  void StopWaiting(uint64_t number);

  const std::shared_ptr<Stub> stub_;
  const Holder holder_;

  absl::Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_) = State::kOpening;
  std::shared_ptr<LeaseStream> stream_ ABSL_GUARDED_BY(mutex_);
  uint64_t fence_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time resume_until_ ABSL_GUARDED_BY(mutex_);
  int resume_attempts_ ABSL_GUARDED_BY(mutex_) = 0;
  // Of the opening, whose attempts follow one another.
  rpc::Repetitions opening_;
  bool repeated_ ABSL_GUARDED_BY(mutex_) = false;
  // Why it is lost.
  absl::Status lost_ ABSL_GUARDED_BY(mutex_);
  std::vector<Waiting> waiting_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::AnyInvocable<void()> released_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::clients

#endif  // POSTERN_SERVICES_CLIENTS_MAILDROP_LEASE_H_
