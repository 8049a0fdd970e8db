#include "services/net/listening_socket.h"

#include <sys/socket.h>

#include <cerrno>

#include "boost/asio/ip/v6_only.hpp"

namespace postern::net {

using boost::asio::ip::tcp;

void Bind(const tcp::endpoint& endpoint, bool share_port, tcp::acceptor* acceptor,
          boost::system::error_code& error) {
  acceptor->open(endpoint.protocol(), error);
  if (error) return;
  acceptor->set_option(tcp::acceptor::reuse_address(true), error);
  if (error) return;
  const int on = 1;
  if (share_port &&
      ::setsockopt(acceptor->native_handle(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) {
    error.assign(errno, boost::system::system_category());
    return;
  }
  if (endpoint.protocol() == tcp::v6()) {
    // "::" is all of both families; any other address is only itself.
    acceptor->set_option(boost::asio::ip::v6_only(!endpoint.address().is_unspecified()), error);
    if (error) return;
  }
  // Inherited by the accepted sockets: replies are small, and each is waited for.
  acceptor->set_option(tcp::no_delay(true), error);
  if (error) return;
  acceptor->bind(endpoint, error);
}

}  // namespace postern::net
