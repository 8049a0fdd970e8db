#include "services/clients/maildrop_lease.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/alarm.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/client_callback.h"
#include "services/rpc/context.h"
#include "services/rpc/retry.h"

namespace postern::clients {

namespace {

using store::v1::OpenRequest;
using store::v1::OpenResponse;

// No session lives longer (gateway.proto: session_timeout_seconds).
constexpr absl::Duration kLongestLease = absl::Hours(25);
// As long as the store keeps the lease of a broken stream.
constexpr absl::Duration kResumeTime = absl::Seconds(10);
constexpr absl::Duration kReleaseTime = absl::Seconds(5);
// 16 MiB of listing: ten times the default quota.
constexpr size_t kMaxEntries = 1'000'000;

}  // namespace

// One Open stream. Kept by the lease and by itself until OnDone. `on_opened` runs once; when it ran
// with success, `on_ended` runs once after it. The hold lets Release half-close from outside a
// reaction; it goes when a read says that the stream is over.
class LeaseStream : public grpc::ClientBidiReactor<OpenRequest, OpenResponse> {
 public:
  struct Opened {
    uint64_t fence = 0;
    MaildropListing listing;
  };

  LeaseStream(async::Done<Opened> on_opened, async::DoneStatus on_ended)
      : on_opened_(std::move(on_opened)), on_ended_(std::move(on_ended)) {}

  void Start(const std::shared_ptr<LeaseStream>& self, MaildropLease::Stub* stub,
             const MaildropLease::Holder& holder, uint64_t resume_fence, absl::Time deadline) {
    self_ = self;
    request_.set_token(holder.token);
    request_.set_session_nonce(holder.session_nonce);
    request_.set_resume_fence(resume_fence);
    keep_listing_ = resume_fence == 0;
    rpc::WriteCallContext({holder.trace, absl::Now() + kLongestLease}, &context_);
    // The request leaves together with the call's metadata.
    context_.set_initial_metadata_corked(true);
    // A stream has one deadline for all of its life, so the opening's is an alarm. It and the
    // reactions wait until the call is begun.
    absl::MutexLock lock(&mutex_);
    CancelAt(&opening_alarm_, deadline);
    stub->async()->Open(&context_, this);
    AddHold();
    writing_ = true;
    StartWrite(&request_);
    StartRead(&response_);
    StartCall();
  }

  void Fetch(OpenRequest::Fetch fetch, async::Done<OpenResponse::Fetched> done) {
    {
      absl::MutexLock lock(&mutex_);
      if (held_ && !releasing_ && !on_fetched_) {
        on_fetched_ = std::move(done);
        next_ = std::move(fetch);
        WriteNext();
        return;
      }
    }
    done(absl::UnavailableError("the stream is over, or has a fetch to answer"));
  }

  // Half-closes: the store frees the maildrop and ends the stream.
  void Release(absl::Time deadline) {
    absl::MutexLock lock(&mutex_);
    if (!held_ || releasing_) return;
    releasing_ = true;
    CancelAt(&release_alarm_, deadline);
    WriteNext();
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    // A stream that broke says so in the pending read.
    if (ok) WriteNext();
  }

  void OnReadDone(bool ok) override {
    async::Done<Opened> on_opened;
    async::Done<OpenResponse::Fetched> on_fetched;
    OpenResponse::Fetched fetched;
    {
      absl::MutexLock lock(&mutex_);
      if (!ok) {
        ReleaseHold();
        return;
      }
      if (response_.has_fetched() && complete_ && on_fetched_) {
        on_fetched = std::exchange(on_fetched_, nullptr);
        fetched = std::move(*response_.mutable_fetched());
        // An idle session keeps no messages.
        response_ = OpenResponse();
        StartRead(&response_);
      } else if (const absl::Status status = Take(); !status.ok()) {
        Fail(status);
        return;
      } else if (!complete_) {
        StartRead(&response_);
        return;
      } else {
        opening_alarm_->Cancel();
        on_opened = std::exchange(on_opened_, nullptr);
      }
    }
    if (on_fetched) {
      on_fetched(std::move(fetched));
      return;
    }
    // Before the read that sees the stream's end, so that on_ended comes after it.
    on_opened(std::move(opened_));
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& grpc_status) override {
    async::Done<Opened> on_opened;
    async::DoneStatus on_ended;
    async::Done<OpenResponse::Fetched> on_fetched;
    absl::Status status;
    {
      absl::MutexLock lock(&mutex_);
      on_fetched = std::exchange(on_fetched_, nullptr);
      status = failure_.ok() ? rpc::FromGrpc(grpc_status) : failure_;
      on_opened = std::move(on_opened_);
      on_opened_ = nullptr;
      on_ended = std::move(on_ended_);
      opening_alarm_->Cancel();
      if (release_alarm_.has_value()) release_alarm_->Cancel();
    }
    // By then the lease knows that it is to be taken up again.
    const absl::Status fetch_status =
        status.ok() ? absl::UnavailableError("the store ended the stream") : status;
    if (on_opened) {
      on_opened(status.ok() ? absl::InternalError("the stream ended before the listing did")
                            : status);
    } else {
      on_ended(status);
    }
    if (on_fetched) on_fetched(fetch_status);
    // Last: this may delete the stream.
    const std::shared_ptr<LeaseStream> self = std::move(self_);
  }

 private:
  // What was read, into `opened_`.
  absl::Status Take() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (complete_) return absl::InternalError("the store went on after the last page");
    if (response_.has_lease()) {
      if (opened_.fence != 0) return absl::InternalError("two leases in one stream");
      if (response_.lease().fence() == 0) return absl::InternalError("a lease without a fence");
      opened_.fence = response_.lease().fence();
      opened_.listing.uid_validity = response_.lease().uid_validity();
      if (keep_listing_) {
        opened_.listing.entries.reserve(
            std::min<uint64_t>(response_.lease().message_count(), kMaxEntries));
      }
    }
    const auto& page = response_.page();
    if (opened_.fence == 0) return absl::InternalError("a page before the lease");
    if (page.uids_size() != page.sizes_size()) {
      return absl::InternalError("a page with more uids than sizes, or fewer");
    }
    complete_ = page.last();
    // Who resumes has the listing already.
    if (!keep_listing_) return absl::OkStatus();
    auto& entries = opened_.listing.entries;
    if (entries.size() + page.uids_size() > kMaxEntries) {
      return absl::ResourceExhaustedError("a maildrop with more than 1 000 000 messages");
    }
    for (int i = 0; i < page.uids_size(); ++i) {
      if (!entries.empty() && page.uids(i) <= entries.back().uid) {
        return absl::InternalError("uids that do not ascend");
      }
      entries.push_back({page.uids(i), page.sizes(i)});
    }
    return absl::OkStatus();
  }

  // One write at a time, the half-close last.
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || !held_) return;
    if (next_.has_value()) {
      request_.Clear();
      *request_.mutable_fetch() = *std::exchange(next_, std::nullopt);
      writing_ = true;
      StartWrite(&request_);
    } else if (releasing_) {
      StartWritesDone();
      ReleaseHold();
    }
  }

  // When the time is up, the stream ends: as failed while it opens, else as it may.
  void CancelAt(std::optional<grpc::Alarm>* alarm, absl::Time when) {
    alarm->emplace();
    (*alarm)->Set(absl::ToChronoTime(when),
                  [weak = std::weak_ptr<LeaseStream>(self_)](bool expired) {
                    const std::shared_ptr<LeaseStream> self = expired ? weak.lock() : nullptr;
                    if (self == nullptr) return;
                    absl::MutexLock lock(&self->mutex_);
                    // The opening was in time, only the alarm's cancellation came too late.
                    if (self->complete_ && !self->releasing_) return;
                    self->Fail(absl::DeadlineExceededError("the store did not answer in time"));
                  });
  }

  void Fail(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (failure_.ok()) failure_ = status;
    context_.TryCancel();
    ReleaseHold();
  }

  void ReleaseHold() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!held_) return;
    held_ = false;
    RemoveHold();
  }

  grpc::ClientContext context_;
  OpenRequest request_;
  OpenResponse response_;
  std::shared_ptr<LeaseStream> self_;
  bool keep_listing_ = true;

  absl::Mutex mutex_;
  // Filled by reactions, which come one after the other.
  Opened opened_;
  bool complete_ = false;
  bool held_ ABSL_GUARDED_BY(mutex_) = true;
  bool releasing_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<OpenRequest::Fetch> next_ ABSL_GUARDED_BY(mutex_);
  async::Done<OpenResponse::Fetched> on_fetched_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  async::Done<Opened> on_opened_ ABSL_GUARDED_BY(mutex_);
  async::DoneStatus on_ended_ ABSL_GUARDED_BY(mutex_);
  std::optional<grpc::Alarm> opening_alarm_;
  std::optional<grpc::Alarm> release_alarm_;
};

void MaildropLease::Open(const rpc::CallContext& call, async::Done<MaildropListing> done) {
  StartStream(/*resume_fence=*/0, opening_.Begin(call).deadline,
              [self = shared_from_this(), call,
               done = std::move(done)](absl::StatusOr<MaildropListing> opened) mutable {
                std::optional<absl::Duration> delay;
                if (absl::IsUnavailable(opened.status())) {
                  absl::MutexLock lock(&self->mutex_);
                  if (self->state_ == State::kOpening && !std::exchange(self->repeated_, true)) {
                    delay = self->opening_.Next(call);
                  }
                }
                if (!delay.has_value()) {
                  done(std::move(opened));
                  return;
                }
                rpc::RunAfter(*delay, [self, call, done = std::move(done)]() mutable {
                  self->Open(call, std::move(done));
                });
              });
}

void MaildropLease::StartStream(uint64_t resume_fence, absl::Time deadline,
                                async::Done<MaildropListing> done) {
  auto stream = std::make_shared<LeaseStream>(
      [self = shared_from_this(),
       done = std::move(done)](absl::StatusOr<LeaseStream::Opened> opened) mutable {
        if (opened.ok()) {
          std::shared_ptr<LeaseStream> unwanted;
          {
            absl::MutexLock lock(&self->mutex_);
            if (self->state_ == State::kReleased) {
              unwanted = self->stream_;
            } else {
              self->state_ = State::kHeld;
              self->fence_ = opened->fence;
            }
          }
          if (unwanted != nullptr) unwanted->Release(absl::Now() + kReleaseTime);
          done(std::move(opened->listing));
        } else {
          done(opened.status());
        }
      },
      [weak = weak_from_this()](const absl::Status& status) {
        if (const auto self = weak.lock()) self->Ended(status);
      });
  {
    absl::MutexLock lock(&mutex_);
    stream_ = stream;
  }
  stream->Start(stream, stub_.get(), holder_, resume_fence, deadline);
}

void MaildropLease::Ended(const absl::Status& status) {
  absl::AnyInvocable<void()> released;
  {
    absl::MutexLock lock(&mutex_);
    stream_ = nullptr;
    if (state_ == State::kReleased) {
      released = std::move(released_);
      released_ = nullptr;
    } else if (rpc::IsBrokenHop(status)) {
      state_ = State::kResuming;
      resume_until_ = absl::Now() + kResumeTime;
      resume_attempts_ = 0;
    } else {
      state_ = State::kLost;
      lost_ = status.ok() ? absl::FailedPreconditionError("the store ended the lease") : status;
      return;
    }
  }
  if (released) {
    released();
  } else {
    Resume();
  }
}

void MaildropLease::Resume() {
  uint64_t fence = 0;
  absl::Time deadline;
  {
    absl::MutexLock lock(&mutex_);
    if (state_ == State::kResuming) {
      fence = fence_;
      deadline = resume_until_;
    }
  }
  if (fence == 0) {
    Resumed(absl::CancelledError("the maildrop was let go of"));
    return;
  }
  StartStream(fence, deadline, [self = shared_from_this()](absl::StatusOr<MaildropListing> opened) {
    self->Resumed(opened.status());
  });
}

void MaildropLease::Resumed(const absl::Status& status) {
  std::vector<Waiting> waiting;
  uint64_t fence = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (!status.ok() && state_ == State::kResuming) {
      const absl::Duration delay = rpc::RetryDelay(++resume_attempts_);
      if (rpc::IsBrokenHop(status) && rpc::WorthRetrying(delay, resume_until_)) {
        rpc::RunAfter(delay, [self = shared_from_this()] { self->Resume(); });
        return;
      }
      state_ = State::kLost;
      // Whatever it was: nobody needs to try again.
      lost_ = absl::FailedPreconditionError(
          absl::StrCat("the lease could not be taken up again: ", status.message()));
      stream_ = nullptr;
    }
    fence = fence_;
    waiting.swap(waiting_);
  }
  for (Waiting& one : waiting) {
    if (status.ok()) {
      one.done(fence);
    } else {
      one.done(status);
    }
  }
}

void MaildropLease::StopWaiting(uint64_t number) {
  async::Done<uint64_t> done;
  {
    absl::MutexLock lock(&mutex_);
    const auto found =
        std::find_if(waiting_.begin(), waiting_.end(),
                     [number](const Waiting& waiting) { return waiting.number == number; });
    if (found == waiting_.end()) return;
    done = std::move(found->done);
    waiting_.erase(found);
  }
  done(absl::UnavailableError("the store can't be reached"));
}

void MaildropLease::Fetch(absl::Time until, OpenRequest::Fetch fetch,
                          async::Done<OpenResponse::Fetched> done) {
  WhenHeld(until, [self = shared_from_this(), fetch = std::move(fetch),
                   done = std::move(done)](absl::StatusOr<uint64_t> fence) mutable {
    std::shared_ptr<LeaseStream> stream;
    {
      absl::MutexLock lock(&self->mutex_);
      stream = self->stream_;
    }
    if (!fence.ok()) {
      done(fence.status());
    } else if (stream == nullptr) {
      done(absl::UnavailableError("the stream is over"));
    } else {
      stream->Fetch(std::move(fetch), std::move(done));
    }
  });
}

void MaildropLease::WhenHeld(absl::Time until, async::Done<uint64_t> done) {
  absl::StatusOr<uint64_t> answer;
  {
    absl::MutexLock lock(&mutex_);
    switch (state_) {
      case State::kOpening:
      case State::kResuming:
        waiting_.push_back({++last_waiting_, std::move(done)});
        rpc::RunAfter(until - absl::Now(), [self = shared_from_this(), number = last_waiting_] {
          self->StopWaiting(number);
        });
        return;
      case State::kHeld:
        answer = fence_;
        break;
      case State::kLost:
        answer = lost_;
        break;
      case State::kReleased:
        answer = absl::FailedPreconditionError("the maildrop is closed");
        break;
    }
  }
  done(std::move(answer));
}

void MaildropLease::Release(absl::Time deadline, absl::AnyInvocable<void()> done) {
  std::shared_ptr<LeaseStream> stream;
  {
    absl::MutexLock lock(&mutex_);
    if (state_ == State::kHeld && stream_ != nullptr) {
      stream = stream_;
      released_ = std::move(done);
      done = nullptr;
    }
    if (state_ != State::kLost) state_ = State::kReleased;
  }
  if (stream != nullptr) stream->Release(std::min(deadline, absl::Now() + kReleaseTime));
  // There was nothing to let go of.
  if (done) done();
}

}  // namespace postern::clients
