// What was told to try again later.
#ifndef POSTERN_RELAY_SVC_DOMAIN_RATE_REFUSALS_H_
#define POSTERN_RELAY_SVC_DOMAIN_RATE_REFUSALS_H_

#include <string>

#include "absl/strings/string_view.h"
#include "services/telemetry/metrics.h"

namespace postern::relay {

// `rate`: "connections", "messages" or "recipients".
inline telemetry::Counter& RateRefusals(absl::string_view rate) {
  return telemetry::GetCounter("postern_relay_rate_refusals_total",
                               "What was told to try again later, by the rate that it exceeded.",
                               {{"rate", std::string(rate)}});
}

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_RATE_REFUSALS_H_
