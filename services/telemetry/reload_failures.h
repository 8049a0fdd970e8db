// Files that are read again when they change, and could not be.
#ifndef POSTERN_SERVICES_TELEMETRY_RELOAD_FAILURES_H_
#define POSTERN_SERVICES_TELEMETRY_RELOAD_FAILURES_H_

#include "services/telemetry/metrics.h"

namespace postern::telemetry {

// Certificates, keys and token keys alike; what was in force before stays so.
inline Counter& ReloadFailures() {
  static Counter& counter =
      GetCounter("postern_certificate_reload_failures_total",
                 "New certificates or keys that could not be taken: the old ones stay in force.");
  return counter;
}

}  // namespace postern::telemetry

#endif  // POSTERN_SERVICES_TELEMETRY_RELOAD_FAILURES_H_
