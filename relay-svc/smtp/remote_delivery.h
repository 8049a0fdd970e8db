// To other mail systems: next hop or MX, each host's addresses in turn, one SMTP transaction.
#ifndef POSTERN_RELAY_SVC_SMTP_REMOTE_DELIVERY_H_
#define POSTERN_RELAY_SVC_SMTP_REMOTE_DELIVERY_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/random/random.h"
#include "relay-svc/domain/delivery.h"
#include "relay-svc/domain/resolver.h"
#include "relay-svc/domain/route.h"
#include "relay-svc/smtp/outgoing_session.h"

namespace postern::relay {

struct RemoteDeliveryOptions {
  RoutingOptions routing;
  SessionLimits limits;
};

// On the queue runner's loop.
class RemoteDelivery : public Deliverer {
 public:
  RemoteDelivery(RemoteDeliveryOptions options, Resolver* resolver);

  boost::asio::awaitable<std::vector<DeliveryResult>> Deliver(
      const SpooledMessage& message, const std::string& destination,
      const std::vector<DeliveryRecipient>& recipients, MessageBody& body) override;

 private:
  struct Attempt;
  boost::asio::awaitable<RouteOrFailure> FindRoute(const std::string& destination);
  // False: no answer that settles the matter, the next address may have one.
  boost::asio::awaitable<bool> TryAddress(Attempt& attempt, const std::string& host,
                                          const boost::asio::ip::tcp::endpoint& peer);

  const RemoteDeliveryOptions options_;
  Resolver* resolver_;
  std::shared_ptr<SSL_CTX> tls_;
  absl::BitGen random_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_SMTP_REMOTE_DELIVERY_H_
