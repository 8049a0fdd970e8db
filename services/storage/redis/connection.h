// A connection to one Redis server: pipelined, with a deadline for every command. hiredis reads and
// writes the protocol, services/net carries it.
#ifndef POSTERN_SERVICES_STORAGE_REDIS_CONNECTION_H_
#define POSTERN_SERVICES_STORAGE_REDIS_CONNECTION_H_

#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "boost/asio/awaitable.hpp"
#include "boost/asio/steady_timer.hpp"
#include "services/async/done.h"
#include "services/net/connection.h"
#include "services/storage/redis/reply.h"

struct redisReader;

namespace postern::storage::redis {

using Command = std::vector<std::string>;

struct Endpoint {
  std::string host;
  int port = 0;

  friend bool operator==(const Endpoint&, const Endpoint&) = default;
  // "redis.mail.svc:6379", "[2001:db8::1]:6379".
  std::string ToString() const;
};

// "host", "host:port", "[address]:port". INVALID_ARGUMENT: neither.
absl::StatusOr<Endpoint> ParseEndpoint(const std::string& text, int default_port);

// Who we are to a server. Files are read at every connect, so that they may be swapped.
struct Access {
  // Empty: no AUTH, or the user "default" when there is a password.
  std::string username;
  std::string password_file;
  // TLS, with the server's name checked, against this CA; empty: no TLS.
  std::string ca_file;
  std::string certificate_file;
  std::string private_key_file;
};

// INVALID_ARGUMENT names a file that can't be used.
absl::Status CheckFiles(const Access& access);

// Of one loop's thread. Answers come in the order of Send; the first that is too late, or no
// protocol, breaks the connection, and everything that waits is UNAVAILABLE.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // UNAVAILABLE: not reached. FAILED_PRECONDITION: it says no (a name, a password, a file of ours).
  static boost::asio::awaitable<absl::StatusOr<std::shared_ptr<Connection>>> Open(
      Endpoint endpoint, Access access, net::Deadline deadline);
  ~Connection();

  // `done` runs on the loop, once. An error that the server answers is a reply, and no status.
  void Send(const Command& command, net::Deadline deadline, async::Done<Reply> done);

  // Breaks it; everything that waits gets `why`.
  void Close(absl::Status why);
  // OK until it is broken.
  const absl::Status& state() const { return state_; }
  // Waits for `time`, or until it is broken.
  boost::asio::awaitable<void> BrokenWithin(std::chrono::milliseconds time);

 private:
  struct Waiting {
    net::Deadline deadline;
    async::Done<Reply> done;
  };

  explicit Connection(const boost::asio::any_io_executor& executor);
  // Writes what Send left and reads what comes, until it is broken.
  boost::asio::awaitable<void> Run();
  absl::Status Take(absl::string_view octets);

  net::Connection connection_;
  boost::asio::steady_timer broken_;
  std::unique_ptr<redisReader, void (*)(redisReader*)> reader_;
  absl::Status state_;
  std::string out_;
  std::deque<Waiting> waiting_;
};

}  // namespace postern::storage::redis

#endif  // POSTERN_SERVICES_STORAGE_REDIS_CONNECTION_H_
