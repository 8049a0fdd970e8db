// The PROXY protocol's header of a connection (services/protocol/proxy).
#ifndef POSTERN_SERVICES_NET_PROXY_READER_H_
#define POSTERN_SERVICES_NET_PROXY_READER_H_

#include "absl/status/statusor.h"
#include "boost/asio/awaitable.hpp"
#include "services/net/connection.h"
#include "services/protocol/proxy/proxy_header.h"

namespace postern::net {

// Takes the header and nothing behind it. INVALID_ARGUMENT: it is none; else as Connection::Read.
boost::asio::awaitable<absl::StatusOr<proxy::Header>> ReadProxyHeader(Connection& connection,
                                                                      Deadline deadline);

}  // namespace postern::net

#endif  // POSTERN_SERVICES_NET_PROXY_READER_H_
