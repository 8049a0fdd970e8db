#include "services/storage/redis/node.h"

#include <utility>

#include "boost/asio/as_tuple.hpp"
#include "boost/asio/co_spawn.hpp"
#include "boost/asio/deferred.hpp"
#include "boost/asio/detached.hpp"
#include "services/async/await.h"

namespace postern::storage::redis {
namespace {

namespace asio = boost::asio;
using asio::awaitable;

constexpr std::chrono::milliseconds kPingInterval(1000);
// After a connection that was of use, and after one that never was.
constexpr std::chrono::milliseconds kShortPause(100);
constexpr std::chrono::milliseconds kPause(1000);

}  // namespace

awaitable<absl::StatusOr<Reply>> Ask(Connection& connection, Command command,
                                     std::chrono::milliseconds timeout) {
  absl::StatusOr<Reply> reply =
      co_await async::Await<absl::StatusOr<Reply>>([&](async::Done<Reply> done) {
        connection.Send(command, std::chrono::steady_clock::now() + timeout, std::move(done));
      });
  if (reply.ok() && reply->type == Reply::Type::kError) {
    co_return absl::FailedPreconditionError(reply->text);
  }
  co_return reply;
}

Node::Node(const asio::any_io_executor& executor, Connect connect,
           std::chrono::milliseconds timeout, std::function<void()> changed)
    : executor_(executor),
      connect_(std::move(connect)),
      timeout_(timeout),
      changed_(std::move(changed)),
      pause_(executor),
      state_(absl::UnavailableError("not connected yet")) {}

void Node::Start() {
  asio::co_spawn(
      executor_, [self = shared_from_this()] { return self->Keep(); }, asio::detached);
}

void Node::Stop() {
  stopped_ = true;
  state_ = absl::UnavailableError("stopped");
  pause_.cancel();
  if (connection_ != nullptr) connection_->Close(state_);
}

void Node::SetState(absl::Status state) {
  if (stopped_) return;
  state_ = std::move(state);
  changed_();
}

awaitable<void> Node::Keep() {
  const std::shared_ptr<Node> self = shared_from_this();
  while (!stopped_) {
    absl::StatusOr<std::shared_ptr<Connection>> connection = co_await connect_();
    absl::Status status = connection.status();
    if (status.ok()) status = co_await Use(*connection);
    const bool was_of_use = std::exchange(connection_, nullptr) != nullptr;
    SetState(std::move(status));
    if (stopped_) break;
    pause_.expires_after(was_of_use ? kShortPause : kPause);
    co_await pause_.async_wait(asio::as_tuple(asio::deferred));
  }
}

awaitable<absl::Status> Node::Use(std::shared_ptr<Connection> connection) {
  const Command ping = {"PING"};
  while (true) {
    const absl::Status answered = (co_await Ask(*connection, ping, timeout_)).status();
    if (!answered.ok() || stopped_) {
      connection->Close(answered);
      co_return answered;
    }
    if (connection_ == nullptr) {
      connection_ = connection;
      SetState(absl::OkStatus());
    }
    co_await connection->BrokenWithin(kPingInterval);
  }
}

}  // namespace postern::storage::redis
