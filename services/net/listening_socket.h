// How a listener's socket is bound.
#ifndef POSTERN_SERVICES_NET_LISTENING_SOCKET_H_
#define POSTERN_SERVICES_NET_LISTENING_SOCKET_H_

#include "boost/asio/ip/tcp.hpp"

namespace postern::net {

// Opens `acceptor` and binds it to exactly `endpoint`; with `share_port` others may bind it too
// (SO_REUSEPORT). `error` says what failed; throws nothing.
void Bind(const boost::asio::ip::tcp::endpoint& endpoint, bool share_port,
          boost::asio::ip::tcp::acceptor* acceptor, boost::system::error_code& error);

}  // namespace postern::net

#endif  // POSTERN_SERVICES_NET_LISTENING_SOCKET_H_
