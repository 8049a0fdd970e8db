// What a client measures of the calls that it makes.
#ifndef POSTERN_SERVICES_CLIENTS_METHOD_METRICS_H_
#define POSTERN_SERVICES_CLIENTS_METHOD_METRICS_H_

#include <string>

#include "absl/strings/string_view.h"
#include "services/telemetry/metrics.h"

namespace postern::clients {

// Of one method.
struct MethodMetrics {
  // `method` reads "postern.store.v1.DeliveryService/Deliver".
  explicit MethodMetrics(absl::string_view method)
      : seconds(telemetry::GetLatencyHistogram("postern_client_call_seconds",
                                               "From the first attempt of a call to its answer.",
                                               {{"method", std::string(method)}})),
        failures(telemetry::GetCounter("postern_client_call_failures_total",
                                       "Calls that ended with an error, after all attempts.",
                                       {{"method", std::string(method)}})),
        repetitions(telemetry::GetCounter("postern_client_call_repetitions_total",
                                          "Attempts after the first, because of UNAVAILABLE.",
                                          {{"method", std::string(method)}})) {}

  telemetry::Histogram& seconds;
  telemetry::Counter& failures;
  telemetry::Counter& repetitions;
};

}  // namespace postern::clients

#endif  // POSTERN_SERVICES_CLIENTS_METHOD_METRICS_H_
