// One server of Redis, connected to for as long as we live.
#ifndef POSTERN_SERVICES_STORAGE_REDIS_NODE_H_
#define POSTERN_SERVICES_STORAGE_REDIS_NODE_H_

#include <chrono>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "boost/asio/any_io_executor.hpp"
#include "boost/asio/awaitable.hpp"
#include "boost/asio/steady_timer.hpp"
#include "services/storage/redis/connection.h"

namespace postern::storage::redis {

// Of one loop's thread.
class Node : public std::enable_shared_from_this<Node> {
 public:
  // Finds the server, which may be another one each time, and connects to it.
  using Connect =
      std::function<boost::asio::awaitable<absl::StatusOr<std::shared_ptr<Connection>>>()>;

  // `timeout`: for the answer to a PING. `changed` is called when state() may be another one.
  Node(const boost::asio::any_io_executor& executor, Connect connect,
       std::chrono::milliseconds timeout, std::function<void()> changed);

  void Start();
  // For good; nothing is called any more.
  void Stop();

  // OK: it answered a PING in time, at most a second ago.
  const absl::Status& state() const { return state_; }
  // Null unless state() is OK.
  const std::shared_ptr<Connection>& connection() const { return connection_; }

 private:
  boost::asio::awaitable<void> Keep();
  // From the first PING to the first that fails.
  boost::asio::awaitable<absl::Status> Use(std::shared_ptr<Connection> connection);
  void SetState(absl::Status state);

  const boost::asio::any_io_executor executor_;
  const Connect connect_;
  const std::chrono::milliseconds timeout_;
  const std::function<void()> changed_;
  boost::asio::steady_timer pause_;
  bool stopped_ = false;
  absl::Status state_;
  std::shared_ptr<Connection> connection_;
};

// On the calling coroutine.
boost::asio::awaitable<absl::StatusOr<Reply>> Ask(Connection& connection, Command command,
                                                  std::chrono::milliseconds timeout);

}  // namespace postern::storage::redis

#endif  // POSTERN_SERVICES_STORAGE_REDIS_NODE_H_
