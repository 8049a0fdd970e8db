// Which hosts take the mail of a domain: RFC 5321 5.1, RFC 7505, configured next hops.
#ifndef POSTERN_RELAY_SVC_DOMAIN_ROUTE_H_
#define POSTERN_RELAY_SVC_DOMAIN_ROUTE_H_

#include <string>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/random/bit_gen_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "relay-svc/domain/delivery.h"
#include "relay-svc/domain/resolver.h"

namespace postern::relay {

struct NextHop {
  // A name or an address.
  std::string host;
  int port = 25;
};

struct RoutingOptions {
  std::string hostname;
  // By domain in A-labels; "*" is every other.
  absl::flat_hash_map<std::string, NextHop> next_hops;
  int mx_port = 25;
};

struct Route {
  // In the order in which they are tried; never empty.
  std::vector<std::string> hosts;
  int port = 25;
  // Of a next hop, not of what the DNS says.
  bool configured = false;
};

// Or why there is none.
using RouteOrFailure = std::variant<Route, DeliveryResult>;

// The next hop of a domain; null when its MX decides.
const NextHop* FindNextHop(const RoutingOptions& options, absl::string_view domain);

// What an MX look-up's answer means. `answer` as Resolver gives it.
RouteOrFailure RouteByMx(const RoutingOptions& options, absl::string_view domain,
                         absl::StatusOr<std::vector<MxRecord>> answer, absl::BitGenRef random);

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_ROUTE_H_
