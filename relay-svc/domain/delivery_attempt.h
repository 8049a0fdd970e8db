// What a job does: resolves, delivers here or elsewhere, and decides what each answer means.
#ifndef POSTERN_RELAY_SVC_DOMAIN_DELIVERY_ATTEMPT_H_
#define POSTERN_RELAY_SVC_DOMAIN_DELIVERY_ATTEMPT_H_

#include <string>
#include <vector>

#include "absl/random/bit_gen_ref.h"
#include "absl/time/time.h"
#include "boost/asio/awaitable.hpp"
#include "relay-svc/domain/delivery.h"
#include "relay-svc/domain/message_body.h"
#include "relay-svc/domain/retry_schedule.h"
#include "relay-svc/domain/spool.h"
#include "services/clients/auth_client.h"

namespace postern::relay {

// One result per recipient of the job. Whether a recipient is ours is asked anew each time: the
// directory may have changed since the message came.
boost::asio::awaitable<std::vector<DeliveryResult>> AttemptDelivery(
    const Job& job, MessageBody& body, clients::DirectoryClient* directory, Deliverer* local,
    Deliverer* remote);

struct OutcomeContext {
  const RetrySchedule& schedule;
  // The sender of what waits longer is told so, once; InfiniteDuration: never.
  absl::Duration delay_warning;
  std::string hostname;
  absl::Time now;
  absl::BitGenRef random;
};

// Outcomes of the attempt; what failed for good, or waits for long, with a notice to the sender,
// unless the sender is null (RFC 5321 4.5.5). `message_start` is the start of the message, for the
// notice.
JobOutcome DecideOutcome(const Job& job, const std::vector<DeliveryResult>& results,
                         absl::string_view message_start, const OutcomeContext& context);

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_DELIVERY_ATTEMPT_H_
