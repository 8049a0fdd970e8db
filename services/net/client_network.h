// What a client's address counts under.
#ifndef POSTERN_SERVICES_NET_CLIENT_NETWORK_H_
#define POSTERN_SERVICES_NET_CLIENT_NETWORK_H_

#include <string>

#include "absl/strings/string_view.h"

namespace postern::net {

// The network that a client's address ("192.0.2.1", "2001:db8::1") counts under, "" when it is no
// address. "192.0.2.0/24": the least that is routed on the internet, and what one guesser has more
// often than single addresses. "2001:db8::/64": one subscriber's, who has all of it.
std::string NetworkOf(absl::string_view client);

}  // namespace postern::net

#endif  // POSTERN_SERVICES_NET_CLIENT_NETWORK_H_
