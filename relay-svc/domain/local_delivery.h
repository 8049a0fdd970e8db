// Into the maildrops of this platform, through store-svc.
#ifndef POSTERN_RELAY_SVC_DOMAIN_LOCAL_DELIVERY_H_
#define POSTERN_RELAY_SVC_DOMAIN_LOCAL_DELIVERY_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "relay-svc/domain/delivery.h"
#include "services/clients/store_client.h"

namespace postern::relay {

// 16 octets that name the delivery of this message to this mailbox, the same after a crash: what
// was committed in store-svc but not yet written down here is not delivered twice. (store-svc
// remembers them for a day.)
std::string LocalDeliveryId(absl::string_view queue_id, absl::string_view mailbox_id);

// Each mailbox is a delivery of its own, so that a full one holds up nobody else; a mailbox that is
// reached in several ways gets one copy. A recipient's result is made of its mailboxes'.
class LocalDelivery : public Deliverer {
 public:
  explicit LocalDelivery(clients::DeliveryClient* store) : store_(store) {}

  boost::asio::awaitable<std::vector<DeliveryResult>> Deliver(
      const SpooledMessage& message, const std::string& destination,
      const std::vector<DeliveryRecipient>& recipients, MessageBody& body) override;

 private:
  clients::DeliveryClient* store_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_LOCAL_DELIVERY_H_
