// Resolver over libunbound.
#ifndef POSTERN_RELAY_SVC_DNS_UNBOUND_RESOLVER_H_
#define POSTERN_RELAY_SVC_DNS_UNBOUND_RESOLVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "relay-svc/domain/resolver.h"

namespace postern::relay {

// `name_servers` as "address" or "address@port"; none: those of /etc/resolv.conf. INVALID_ARGUMENT
// names one that can't be read. Look-ups that are out when it is destroyed get UNAVAILABLE.
absl::StatusOr<std::unique_ptr<Resolver>> OpenUnboundResolver(
    const std::vector<std::string>& name_servers);

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DNS_UNBOUND_RESOLVER_H_
