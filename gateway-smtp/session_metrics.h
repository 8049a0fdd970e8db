// What sessions count for /metrics.
#ifndef POSTERN_GATEWAY_SMTP_SESSION_METRICS_H_
#define POSTERN_GATEWAY_SMTP_SESSION_METRICS_H_

#include "services/telemetry/metrics.h"

namespace postern::gateway_smtp {

// Looked up once; any thread.
struct SessionMetrics {
  telemetry::Counter& sessions;
  telemetry::Counter& sessions_foreign;
  telemetry::Histogram& session_seconds;
  telemetry::Counter& messages_2xx;
  telemetry::Counter& messages_4xx;
  telemetry::Counter& messages_5xx;
  telemetry::Counter& messages_abandoned;
  telemetry::Counter& message_octets;
  telemetry::Histogram& commit_seconds;
  telemetry::Counter& recipients_refused;
  telemetry::Counter& authentications_ok;
  telemetry::Counter& authentications_failed;
  telemetry::Counter& authentications_unavailable;

  telemetry::Counter& MessagesWith(int reply_code) const {
    return reply_code < 400 ? messages_2xx : reply_code < 500 ? messages_4xx : messages_5xx;
  }
};

const SessionMetrics& Metrics();

}  // namespace postern::gateway_smtp

#endif  // POSTERN_GATEWAY_SMTP_SESSION_METRICS_H_
