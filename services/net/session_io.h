// What the sessions of both protocols do with their connection.
#ifndef POSTERN_SERVICES_NET_SESSION_IO_H_
#define POSTERN_SERVICES_NET_SESSION_IO_H_

#include <chrono>
#include <string>

#include "absl/strings/string_view.h"
#include "boost/asio/awaitable.hpp"
#include "services/net/connection.h"
#include "services/net/gateway.h"

namespace postern::net {

class SessionIo {
 public:
  // What came, or why nothing did. kGone: the connection is of no use any more. The octets are good
  // until the thread reads for the next session.
  struct Input {
    enum class Kind { kOctets, kTimedOut, kDrain, kGone };
    Kind kind = Kind::kGone;
    absl::string_view octets;
  };

  // `context` must outlive it.
  explicit SessionIo(const SessionContext& context) : context_(context) {}

  // After `wait`, or when the session must be over.
  Deadline NextDeadline(std::chrono::seconds wait) const;

  boost::asio::awaitable<Input> Read(Deadline deadline);
  // False: the connection is of no use any more. Both.
  boost::asio::awaitable<bool> Send(std::string octets);
  boost::asio::awaitable<bool> StartTls();

 private:
  const SessionContext& context_;
  bool has_read_ = false;
};

}  // namespace postern::net

#endif  // POSTERN_SERVICES_NET_SESSION_IO_H_
