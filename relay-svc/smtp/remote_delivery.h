// To other mail systems: next hop or MX, each host's addresses in turn, until every recipient has
// an answer that settles it.
#ifndef POSTERN_RELAY_SVC_SMTP_REMOTE_DELIVERY_H_
#define POSTERN_RELAY_SVC_SMTP_REMOTE_DELIVERY_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/random/random.h"
#include "absl/status/status.h"
#include "relay-svc/domain/delivery.h"
#include "relay-svc/domain/resolver.h"
#include "relay-svc/domain/route.h"
#include "relay-svc/smtp/hosts.h"
#include "relay-svc/smtp/inner_addresses.h"
#include "relay-svc/smtp/line.h"
#include "relay-svc/smtp/outgoing_session.h"

namespace postern::relay {

struct RemoteDeliveryOptions {
  RoutingOptions routing;
  SessionLimits limits;
  int recipients_per_transaction = 50;
  // Sessions that greeted, at a time; and those of one host that an MX led to.
  int max_sessions = 50;
  Hosts::Limits hosts;
  OwnNetworks networks;
};

// On the queue runner's loop.
class RemoteDelivery : public Deliverer {
 public:
  RemoteDelivery(RemoteDeliveryOptions options, Resolver* resolver);

  boost::asio::awaitable<std::vector<DeliveryResult>> Deliver(
      const SpooledMessage& message, const std::string& destination,
      const std::vector<DeliveryRecipient>& recipients, MessageBody& body) override;
  void Stop() override { stopping_ = true; }

 private:
  struct Attempt;
  // A host with its address, as the attempt goes to it.
  struct Peer {
    std::string host;
    boost::asio::ip::tcp::endpoint endpoint;
    // A next hop that the configuration names: it may be anywhere, and has all sessions.
    bool configured = false;
  };
  boost::asio::awaitable<RouteOrFailure> FindRoute(const std::string& destination);
  // Those who are open behind it may fare better at the next address.
  boost::asio::awaitable<void> TryAddress(Attempt& attempt, const Peer& peer);
  // A session's place at the host, in line if need be; a reason when there is none.
  boost::asio::awaitable<absl::Status> Enter(const Peer& peer);
  void Leave(const Peer& peer, bool silent);

  const RemoteDeliveryOptions options_;
  Resolver* resolver_;
  std::shared_ptr<SSL_CTX> tls_;
  absl::BitGen random_;
  bool stopping_ = false;
  Places places_;
  Hosts hosts_;
  // For a place at a host.
  absl::flat_hash_map<Hosts::Address, Line, std::hash<Hosts::Address>> lines_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_SMTP_REMOTE_DELIVERY_H_
