#include "store-svc/rpc/maildrop_open.h"

#include <utility>

#include "services/rpc/context.h"
#include "store-svc/domain/top_cutter.h"
#include "store-svc/rpc/store_metrics.h"

namespace postern::store {
namespace {

// Entries of one page: some 6 KiB on the wire, one read of the database.
constexpr size_t kPageEntries = 1000;
// Messages of one answer, however small: they are read while others wait for the thread.
constexpr size_t kMaxFetched = 100;

}  // namespace

OpenStream::OpenStream(const MaildropParts* parts, OpenStreams* streams,
                       grpc::CallbackServerContext* context)
    : parts_(*parts), streams_(streams), context_(context) {
  if (absl::Status status = streams_->Add(this); !status.ok()) {
    Stop(status, /*broken=*/false);
    return;
  }
  StartRead(&request_);
}

void OpenStream::OnReadDone(bool ok) {
  if (!ok && !hold_.has_value()) {
    Stop(absl::InvalidArgumentError("the first request says who"), /*broken=*/false);
  } else if (ok) {
    hold_.has_value() ? TakeFetch() : TakeFirst();
  } else if (context_->IsCancelled()) {
    Stop(absl::CancelledError("the stream broke"), /*broken=*/true);
  } else {
    // The client half-closed; or the stream broke and gRPC does not know it yet: OnDone sees to
    // that. The maildrop must be free before the client hears that the stream ended.
    Stop(absl::OkStatus(), /*broken=*/false);
  }
}

void OpenStream::TakeFirst() {
  {
    absl::MutexLock lock(&mutex_);
    if (stopped_.has_value()) return;
    under_way_ = true;
  }
  const uint64_t fence = request_.resume_fence();
  if (fence == 0) {
    TakeAnew();
    return;
  }
  parts_.leases->Resume(
      fence, Credential(*context_, request_.token(), request_.session_nonce()),
      [this] {
        return VerifyToken(parts_, *context_, request_.token(), request_.session_nonce(),
                           Expiry::kMindsNot);
      },
      [this](absl::StatusOr<Leases::Hold> hold) {
        if (absl::IsNotFound(hold.status())) {
          TakeAnew();
        } else {
          TakeHold(std::move(hold));
        }
      });
}

void OpenStream::TakeAnew() {
  absl::StatusOr<MailboxId> mailbox =
      VerifyToken(parts_, *context_, request_.token(), request_.session_nonce());
  if (!mailbox.ok()) {
    FailRead(mailbox.status());
    return;
  }
  const std::string credential = Credential(*context_, request_.token(), request_.session_nonce());
  const auto done = [this](absl::StatusOr<Leases::Hold> hold) { TakeHold(std::move(hold)); };
  if (request_.resume_fence() != 0) {
    parts_.leases->ResumeFormer(*mailbox, request_.resume_fence(), credential, done);
  } else {
    parts_.leases->Take(*mailbox, credential, done);
  }
}

void OpenStream::TakeHold(absl::StatusOr<Leases::Hold> hold) {
  if (!hold.ok()) {
    FailRead(hold.status());
    return;
  }
  bool stopped = false;
  {
    absl::MutexLock lock(&mutex_);
    hold_ = *std::move(hold);
    stopped = stopped_.has_value();
  }
  if (stopped) {
    // Drained meanwhile, when there was no lease to end yet.
    parts_.leases->BreakStream(*hold_, [this] { FailRead(absl::OkStatus()); });
    return;
  }
  Metrics().leases.Set(static_cast<double>(parts_.leases->size()));
  StartRead(&request_);
  SubmitRead(&OpenStream::StartListing);
}

void OpenStream::TakeFetch() {
  if (!request_.has_fetch()) {
    Stop(absl::InvalidArgumentError("who was said already: now come fetches"), /*broken=*/false);
    return;
  }
  bool at_once = false;
  bool one_too_many = false;
  {
    absl::MutexLock lock(&mutex_);
    if (stopped_.has_value()) return;
    one_too_many = fetch_.has_value();
    if (!one_too_many) {
      fetch_ = std::move(*request_.mutable_fetch());
      at_once = !std::exchange(under_way_, true);
      StartRead(&request_);
    }
  }
  if (one_too_many) {
    Stop(absl::InvalidArgumentError("a fetch waits already"), /*broken=*/false);
  } else if (at_once) {
    SubmitFetch();
  }
}

void OpenStream::SubmitRead(void (OpenStream::*read)()) {
  if (!parts_.pool->Submit([this, read] { (this->*read)(); })) {
    FailRead(absl::UnavailableError("too many reads wait"));
  }
}

void OpenStream::SubmitFetch() {
  if (parts_.pool->Submit([this] { ReadFetched(); })) return;
  {
    absl::MutexLock lock(&mutex_);
    fetch_.reset();
  }
  AnswerFetch(absl::UnavailableError("too many reads wait"));
}

void OpenStream::StartListing() {
  absl::StatusOr<ListingStart> start = parts_.store->StartListing(hold_->mailbox, kPageEntries);
  if (!start.ok()) {
    FailRead(start.status());
    return;
  }
  uid_next_ = start->uid_next;
  v1::OpenResponse::Lease& lease = *response_.mutable_lease();
  lease.set_fence(hold_->fence);
  lease.set_uid_validity(start->uid_validity);
  lease.set_message_count(start->messages);
  lease.set_total_octets(start->octets);
  FillPage(start->first_page);
  WriteResponse();
}

void OpenStream::ReadNextPage() {
  absl::StatusOr<std::vector<MessageEntry>> page =
      parts_.store->List(hold_->mailbox, last_uid_, uid_next_, kPageEntries);
  if (!page.ok()) {
    FailRead(page.status());
    return;
  }
  FillPage(*page);
  WriteResponse();
}

void OpenStream::ReadFetched() {
  v1::OpenRequest::Fetch fetch;
  {
    absl::MutexLock lock(&mutex_);
    fetch = *std::exchange(fetch_, std::nullopt);
  }
  AnswerFetch(Read(fetch));
}

void OpenStream::AnswerFetch(absl::StatusOr<WholeMessages> whole) {
  v1::OpenResponse::Fetched& fetched = *response_.mutable_fetched();
  if (whole.ok()) {
    for (WholeMessages::Message& message : whole->messages) {
      Metrics().retrieved_bytes.Add(static_cast<double>(message.octets.size()));
      v1::OpenResponse::Message& to = *fetched.add_messages();
      to.set_uid(message.uid);
      *to.mutable_octets() = std::move(message.octets);
    }
    fetched.set_next_uid(whole->next_uid);
  } else {
    fetched.set_code(static_cast<int>(whole.status().code()));
    fetched.set_error(std::string(whole.status().message()));
  }
  WriteResponse();
}

absl::StatusOr<WholeMessages> OpenStream::Read(const v1::OpenRequest::Fetch& fetch) {
  absl::StatusOr<WholeMessages> whole = parts_.store->ReadWhole(
      hold_->mailbox, fetch.uid(), uid_next_, fetch.ahead() ? kMaxFetched : 1, kMaxPieceOctets);
  if (whole.ok() && fetch.has_body_lines()) {
    TopCutter cutter(fetch.body_lines());
    std::string& octets = whole->messages.front().octets;
    octets.resize(cutter.Pass(octets));
  }
  return whole;
}

void OpenStream::FillPage(const std::vector<MessageEntry>& entries) {
  v1::OpenResponse::Page& page = *response_.mutable_page();
  page.mutable_uids()->Reserve(static_cast<int>(entries.size()));
  page.mutable_sizes()->Reserve(static_cast<int>(entries.size()));
  for (const MessageEntry& entry : entries) {
    page.add_uids(entry.uid);
    page.add_sizes(entry.octets);
  }
  if (!entries.empty()) last_uid_ = entries.back().uid;
  listed_ = entries.size() < kPageEntries;
  page.set_last(listed_);
}

void OpenStream::WriteResponse() {
  // What is under way goes on as a write, unless the call was stopped meanwhile.
  if (IdleAndStopped()) return;
  StartWrite(&response_);
}

void OpenStream::OnWriteDone(bool ok) {
  // An idle session keeps no messages.
  response_ = v1::OpenResponse();
  if (ok && !listed_) {
    SubmitRead(&OpenStream::ReadNextPage);
    return;
  }
  {
    // A stream that broke is about to say so in the pending read.
    absl::MutexLock lock(&mutex_);
    under_way_ = ok && !stopped_.has_value() && fetch_.has_value();
    if (!under_way_) {
      FinishIfOver();
      return;
    }
  }
  SubmitFetch();
}

bool OpenStream::IdleAndStopped() {
  absl::MutexLock lock(&mutex_);
  if (!stopped_.has_value()) return false;
  under_way_ = false;
  FinishIfOver();
  return true;
}

void OpenStream::FailRead(const absl::Status& status) {
  {
    absl::MutexLock lock(&mutex_);
    under_way_ = false;
    if (stopped_.has_value()) {
      FinishIfOver();
      return;
    }
  }
  Stop(status, /*broken=*/false);
}

void OpenStream::FinishIfOver() {
  if (stopped_.has_value() && !under_way_ && !ending_) Finish(rpc::ToGrpc(*stopped_));
}

void OpenStream::Stop(const absl::Status& status, bool broken) {
  std::optional<Leases::Hold> hold;
  {
    absl::MutexLock lock(&mutex_);
    if (stopped_.has_value()) return;
    stopped_ = status;
    hold = hold_;
    ending_ = hold.has_value();
    FinishIfOver();
  }
  if (!hold.has_value()) return;
  const auto over = [this](std::optional<Leases::Ended> ended) {
    Metrics().leases.Set(static_cast<double>(parts_.leases->size()));
    absl::MutexLock lock(&mutex_);
    ended_ = std::move(ended);
    ending_ = false;
    FinishIfOver();
  };
  if (broken) {
    parts_.leases->BreakStream(*hold, [over] { over(std::nullopt); });
  } else {
    parts_.leases->EndSession(*hold, over);
  }
}

void OpenStream::EndAsBroken() {
  Stop(absl::UnavailableError("the store is draining"), /*broken=*/true);
}

void OpenStream::OnDone() {
  {
    absl::MutexLock lock(&mutex_);
    if (ended_.has_value() && stopped_->ok() && context_->IsCancelled()) {
      parts_.leases->PutBackBroken(*std::move(ended_), [] {});
    }
  }
  streams_->Remove(this);
  delete this;
}

}  // namespace postern::store
