// What both gateways are made of: event loops, listeners, sessions, limits, drain. A gateway gives
// a session function; the rest is here.
#ifndef POSTERN_SERVICES_NET_GATEWAY_H_
#define POSTERN_SERVICES_NET_GATEWAY_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "boost/asio/awaitable.hpp"
#include "proto/postern/config/v1/gateway.pb.h"
#include "services/net/connection.h"
#include "services/net/tls_profile.h"

namespace postern::net {

// What a session function gets. Lives as long as the session; all on one loop's thread.
struct SessionContext {
  Connection* connection;
  // Null when the listener has no TLS.
  std::shared_ptr<const TlsProfile> tls;
  // 16 hexadecimal digits, unique, for the log.
  std::string session_id;
  // When the session must be over, whatever it does.
  Deadline session_deadline;
  // When the peer must have said who it is (hello_timeout_seconds).
  Deadline hello_deadline;
  // The listener's idle timeout.
  std::chrono::seconds idle_timeout;
  // True once the process drains; the pending WaitReadable was interrupted.
  std::function<bool()> draining;
};

// How a listener runs its sessions; for implicit TLS the handshake is done before it is called.
// What a session uses lives at least as long as this function object (capture a shared_ptr): a
// session that still waits for a service when the gateway ends is left behind, and the function
// with it.
using SessionFunction = std::function<boost::asio::awaitable<void>(SessionContext)>;

// Connections at once from one address on the users' ports, unless configured: a household or an
// office behind one address has a few for each of its people.
inline constexpr int kUsersConnections = 20;

struct GatewayListener {
  config::v1::Listener config;
  SessionFunction run;
  // Sent to a connection over the limits, then it is closed ("421 4.3.2 ...\r\n").
  std::string too_busy;
  // Of one client's connections, where the configuration says nothing; 0: no limit.
  int default_connections_per_client = 0;
};

// Checks what the field rules can't: names are unique, implicit_tls and tls_enabled exclude each
// other, TLS wants a security_domain that exists, require_tls wants tls_enabled,
// require_tls_for_auth is true, proxy_networks are networks. INVALID_ARGUMENT names the setting.
absl::Status CheckListeners(
    const google::protobuf::RepeatedPtrField<config::v1::Listener>& listeners,
    const google::protobuf::RepeatedPtrField<config::v1::SecurityDomain>& domains);

// Loads the profiles, by name.
absl::StatusOr<std::map<std::string, std::shared_ptr<TlsProfile>>> LoadSecurityDomains(
    const google::protobuf::RepeatedPtrField<config::v1::SecurityDomain>& domains);

// Runs the loops (SO_REUSEPORT, one io_context a thread) until Drain.
class Gateway {
 public:
  // Binds every listener exactly as configured; INVALID_ARGUMENT names the listener, address and
  // port that can't be bound.
  static absl::StatusOr<std::unique_ptr<Gateway>> Start(
      std::vector<GatewayListener> listeners,
      const std::map<std::string, std::shared_ptr<TlsProfile>>& domains, int threads);
  virtual ~Gateway() = default;

  // Bound ports by listener name.
  virtual std::map<std::string, int> Ports() const = 0;
  // Stops accepting, interrupts idle sessions, waits for the rest; after `grace` cuts them off.
  // Blocks.
  virtual void Drain(absl::Duration grace) = 0;
};

}  // namespace postern::net

#endif  // POSTERN_SERVICES_NET_GATEWAY_H_
