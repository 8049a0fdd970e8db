// What sessions count for /metrics.
#ifndef POSTERN_GATEWAY_POP3_SESSION_METRICS_H_
#define POSTERN_GATEWAY_POP3_SESSION_METRICS_H_

#include "services/telemetry/metrics.h"

namespace postern::gateway_pop3 {

// Looked up once; any thread.
struct SessionMetrics {
  telemetry::Counter& sessions;
  telemetry::Counter& sessions_foreign;
  telemetry::Histogram& session_seconds;
  telemetry::Counter& logins_ok;
  telemetry::Counter& logins_failed;
  telemetry::Counter& logins_in_use;
  telemetry::Counter& logins_unavailable;
  // From AUTH or PASS to the open maildrop.
  telemetry::Histogram& login_seconds;
  telemetry::Gauge& open_maildrops;
  telemetry::Counter& messages_retrieved;
  telemetry::Counter& octets_retrieved;
  telemetry::Counter& retrievals_failed;
  telemetry::Counter& messages_deleted;
  telemetry::Counter& commits_failed;
};

const SessionMetrics& Metrics();

}  // namespace postern::gateway_pop3

#endif  // POSTERN_GATEWAY_POP3_SESSION_METRICS_H_
