#include "relay-svc/rpc/submission_service.h"

#include <exception>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "relay-svc/rpc/answer.h"
#include "services/async/await.h"
#include "services/body/piece.h"
#include "services/rpc/context.h"

namespace postern::relay {
namespace {

using boost::asio::awaitable;

// Messages under way at a time; one more is UNAVAILABLE.
constexpr int kMaxUnderWay = 500;

class UnderWay {
 public:
  explicit UnderWay(std::atomic<int>* count) : count_(count) { mine_ = ++*count_; }
  ~UnderWay() { --*count_; }
  UnderWay(const UnderWay&) = delete;
  UnderWay& operator=(const UnderWay&) = delete;

  absl::Status Admit() const {
    if (mine_ <= kMaxUnderWay) return absl::OkStatus();
    return absl::UnavailableError("too many messages are under way");
  }

 private:
  std::atomic<int>* count_;
  int mine_;
};

awaitable<absl::StatusOr<v1::EnqueueResponse>> EnqueueWhole(const SubmissionParts* parts,
                                                            std::atomic<int>* count, Caller caller,
                                                            const v1::EnqueueRequest* request) {
  const UnderWay under_way(count);
  if (absl::Status status = under_way.Admit(); !status.ok()) co_return status;
  if (request->body().size() > kMaxPieceOctets) {
    co_return absl::InvalidArgumentError("the body is too large for Enqueue");
  }
  Submission submission(parts);
  absl::Status status = co_await submission.Begin(std::move(caller), request->header());
  if (!status.ok()) co_return status;
  status = co_await submission.Add(request->body());
  if (!status.ok()) co_return status;
  co_return co_await submission.End();
}

// Reads one part at a time, when the submission wants it: a slow spool slows the gateway.
class EnqueueReader : public grpc::ServerReadReactor<v1::EnqueueStreamRequest> {
 public:
  explicit EnqueueReader(v1::EnqueueResponse* response) : response_(response) {}

  // nullptr: no part follows, or the call broke.
  awaitable<v1::EnqueueStreamRequest*> Next() {
    const bool read = co_await async::Await<bool>([this](absl::AnyInvocable<void(bool)> done) {
      done_ = std::move(done);
      StartRead(&part_);
    });
    co_return read ? &part_ : nullptr;
  }
  void End(absl::StatusOr<v1::EnqueueResponse> result) {
    const grpc::Status status = rpc::ToGrpc(result.status());
    if (result.ok()) *response_ = *std::move(result);
    Finish(status);
  }

 private:
  void OnReadDone(bool ok) override { std::exchange(done_, nullptr)(ok); }
  void OnDone() override { delete this; }

  v1::EnqueueResponse* const response_;
  v1::EnqueueStreamRequest part_;
  absl::AnyInvocable<void(bool)> done_;
};

awaitable<absl::StatusOr<v1::EnqueueResponse>> EnqueueParts(const SubmissionParts* parts,
                                                            std::atomic<int>* count, Caller caller,
                                                            EnqueueReader* reader) {
  const UnderWay under_way(count);
  if (absl::Status status = under_way.Admit(); !status.ok()) co_return status;
  v1::EnqueueStreamRequest* part = co_await reader->Next();
  if (part == nullptr || !part->has_header()) {
    co_return absl::InvalidArgumentError("the first part is not the header");
  }
  Submission submission(parts);
  absl::Status status =
      co_await submission.Begin(std::move(caller), std::move(*part->mutable_header()));
  uint64_t octets = 0;
  while (status.ok()) {
    part = co_await reader->Next();
    if (part == nullptr) {
      co_return absl::InvalidArgumentError("the stream ended before the body did");
    }
    if (part->part_case() == v1::EnqueueStreamRequest::kBodyOctets) {
      if (part->body_octets() == octets) co_return co_await submission.End();
      co_return absl::InvalidArgumentError("body_octets is not what the pieces had");
    }
    if (!part->has_chunk() || part->chunk().size() > kMaxPieceOctets) {
      co_return absl::InvalidArgumentError("a part is no piece, or too large");
    }
    octets += part->chunk().size();
    status = co_await submission.Add(part->chunk());
  }
  co_return status;
}

}  // namespace

grpc::ServerUnaryReactor* Enqueuer::Whole(grpc::CallbackServerContext* context,
                                          const v1::EnqueueRequest* request,
                                          v1::EnqueueResponse* response) {
  return Answer(*pool_, context, response,
                EnqueueWhole(parts_, &under_way_, CallerOf(*context), request));
}

grpc::ServerReadReactor<v1::EnqueueStreamRequest>* Enqueuer::Parts(
    grpc::CallbackServerContext* context, v1::EnqueueResponse* response) {
  auto* reader = new EnqueueReader(response);
  boost::asio::co_spawn(
      *pool_, EnqueueParts(parts_, &under_way_, CallerOf(*context), reader),
      [reader](std::exception_ptr failure, absl::StatusOr<v1::EnqueueResponse> result) {
        if (failure != nullptr) result = absl::InternalError("internal error");
        reader->End(std::move(result));
      });
  return reader;
}

}  // namespace postern::relay
