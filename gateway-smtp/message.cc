#include "gateway-smtp/message.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/time/clock.h"
#include "services/async/await.h"
#include "services/body/piece.h"
#include "services/clients/body_stream.h"

namespace postern::gateway_smtp {
namespace {

namespace asio = boost::asio;
using std::chrono::steady_clock;

// What SIZE= alone may reserve: a client's word is free.
constexpr uint64_t kMaxReserve = 16 << 10;

struct Delivery {
  using Client = clients::DeliveryClient;
  using Header = store::v1::DeliveryHeader;
  using Request = store::v1::DeliverRequest;
  using Response = store::v1::DeliverResponse;

  static void Send(Client* client, const rpc::CallContext& call, Request request,
                   async::Done<Response> done) {
    client->Deliver(call, std::move(request), std::move(done));
  }
  static auto Stream(Client* client, const rpc::CallContext& call, Header header) {
    return client->DeliverStream(call, std::move(header));
  }
  static std::string Id(const std::string& delivery_id, const Response&) {
    return absl::BytesToHexString(delivery_id);
  }
};

struct Submission {
  using Client = clients::SubmissionClient;
  using Header = relay::v1::EnqueueHeader;
  using Request = relay::v1::EnqueueRequest;
  using Response = relay::v1::EnqueueResponse;

  static void Send(Client* client, const rpc::CallContext& call, Request request,
                   async::Done<Response> done) {
    client->Enqueue(call, std::move(request), std::move(done));
  }
  static auto Stream(Client* client, const rpc::CallContext& call, Header header) {
    return client->EnqueueStream(call, std::move(header));
  }
  static std::string Id(const std::string&, const Response& response) {
    return response.queue_id();
  }
};

template <typename Role>
class RoleMessage : public Message {
 public:
  using Response = typename Role::Response;

  RoleMessage(typename Role::Client* client, typename Role::Header header, MessageOptions options)
      : client_(client),
        header_(std::move(header)),
        options_(std::move(options)),
        delivery_id_(header_.delivery_id()),
        editor_(std::move(options_.edits)),
        octets_(options_.received.size()) {}

  bool TryAppend(absl::string_view octets) override {
    if (!failure_.ok()) {
      octets_ += octets.size();
      return true;
    }
    const size_t most = octets.size() + editor_.max_growth();
    if (octets_ == options_.received.size()) BeginPiece(most);
    if (piece_.size() + most > kMaxPieceOctets) return false;
    Grow(most);
    const size_t before = piece_.size();
    const absl::string_view body = editor_.Edit(octets, &piece_);
    piece_.append(body.data(), body.size());
    octets_ += piece_.size() - before;
    return true;
  }

  asio::awaitable<void> Append(absl::string_view octets) override {
    if (failure_.ok()) {
      std::string header;
      octets = editor_.Edit(octets, &header);
      if (!header.empty()) co_await AppendEdited(header);
    }
    co_await AppendEdited(octets);
  }

  asio::awaitable<absl::StatusOr<std::string>> Commit() override {
    if (failure_.ok()) {
      // An empty message is only our fields.
      if (octets_ == options_.received.size()) BeginPiece(editor_.max_growth());
      std::string end;
      editor_.End(&end);
      if (!end.empty()) co_await AppendEdited(end);
    }
    if (stream_ == nullptr && failure_.ok()) co_return co_await SendWhole();
    if (failure_.ok() && !piece_.empty()) co_await WritePiece();
    if (!failure_.ok()) co_return failure_;
    const auto finish = [this](async::Done<Response> done) { stream_->Finish(std::move(done)); };
    const auto give_up = [this] { stream_.reset(); };
    absl::StatusOr<Response> response = co_await async::AwaitUntil<absl::StatusOr<Response>>(
        steady_clock::now() + options_.timeout, finish, give_up);
    stream_.reset();
    if (!response.ok()) co_return response.status();
    co_return Role::Id(delivery_id_, *response);
  }

  uint64_t octets() const override { return octets_; }

 private:
  // The first octets have come.
  void BeginPiece(size_t octets) {
    if (!piece_.empty()) return;
    piece_.reserve(
        std::min(kMaxPieceOctets,
                 options_.received.size() +
                     std::max<size_t>(octets, std::min(options_.declared_octets, kMaxReserve))));
    piece_ = options_.received;
  }

  asio::awaitable<void> AppendEdited(absl::string_view octets) {
    while (failure_.ok() && piece_.size() + octets.size() > kMaxPieceOctets) {
      const size_t part = kMaxPieceOctets - piece_.size();
      Grow(part);
      piece_.append(octets.data(), part);
      octets.remove_prefix(part);
      octets_ += part;
      co_await WritePiece();
      piece_.reserve(kMaxPieceOctets);
    }
    if (failure_.ok()) piece_.append(octets.data(), octets.size());
    octets_ += octets.size();
  }

  // Doubling, but never over a piece.
  void Grow(size_t octets) {
    const size_t wanted = piece_.size() + octets;
    if (wanted > piece_.capacity()) piece_.reserve(std::min(kMaxPieceOctets, 2 * wanted));
  }

  asio::awaitable<absl::StatusOr<std::string>> SendWhole() {
    rpc::CallContext call;
    call.trace = options_.trace;
    call.deadline = absl::Now() + absl::FromChrono(options_.timeout);
    typename Role::Request request;
    *request.mutable_header() = std::move(header_);
    request.set_body(std::move(piece_));
    const auto send = [&](async::Done<Response> done) {
      Role::Send(client_, call, std::move(request), std::move(done));
    };
    absl::StatusOr<Response> response = co_await async::Await<absl::StatusOr<Response>>(send);
    if (!response.ok()) co_return response.status();
    co_return Role::Id(delivery_id_, *response);
  }

  asio::awaitable<void> WritePiece() {
    if (stream_ == nullptr) {
      rpc::CallContext call;
      call.trace = options_.trace;
      call.deadline = absl::Now() +
                      absl::FromChrono(options_.session_deadline - steady_clock::now()) +
                      absl::FromChrono(options_.timeout);
      stream_ = Role::Stream(client_, call, std::move(header_));
    }
    const auto write = [this](async::DoneStatus done) {
      stream_->Write(std::exchange(piece_, std::string()), std::move(done));
    };
    const auto give_up = [this] { stream_.reset(); };
    const absl::Status status = co_await async::AwaitUntil<absl::Status>(
        steady_clock::now() + options_.timeout, write, give_up);
    if (status.ok()) co_return;
    failure_ = status;
    stream_.reset();
  }

  typename Role::Client* client_;
  typename Role::Header header_;
  MessageOptions options_;
  const std::string delivery_id_;
  mail::HeaderEditor editor_;
  std::string piece_;
  uint64_t octets_;
  std::unique_ptr<clients::BodyStream<Response>> stream_;
  absl::Status failure_;
};

}  // namespace

std::unique_ptr<Message> NewDelivery(clients::DeliveryClient* client,
                                     store::v1::DeliveryHeader header, MessageOptions options) {
  return std::make_unique<RoleMessage<Delivery>>(client, std::move(header), std::move(options));
}

std::unique_ptr<Message> NewSubmission(clients::SubmissionClient* client,
                                       relay::v1::EnqueueHeader header, MessageOptions options) {
  return std::make_unique<RoleMessage<Submission>>(client, std::move(header), std::move(options));
}

}  // namespace postern::gateway_smtp
