// What sessions count for /metrics.
#ifndef POSTERN_GATEWAY_SMTP_SESSION_METRICS_H_
#define POSTERN_GATEWAY_SMTP_SESSION_METRICS_H_

#include "services/platform/metrics.h"

namespace postern::gateway_smtp {

// Looked up once; any thread.
struct SessionMetrics {
  platform::Counter& sessions;
  platform::Histogram& session_seconds;
  platform::Counter& messages_2xx;
  platform::Counter& messages_4xx;
  platform::Counter& messages_5xx;
  platform::Counter& messages_abandoned;
  platform::Counter& message_octets;
  platform::Histogram& commit_seconds;
  platform::Counter& recipients_refused;
  platform::Counter& authentications_ok;
  platform::Counter& authentications_failed;
  platform::Counter& authentications_unavailable;

  platform::Counter& MessagesWith(int reply_code) const {
    return reply_code < 400 ? messages_2xx : reply_code < 500 ? messages_4xx : messages_5xx;
  }
};

const SessionMetrics& Metrics();

}  // namespace postern::gateway_smtp

#endif  // POSTERN_GATEWAY_SMTP_SESSION_METRICS_H_
