// What sessions count for /metrics.
#ifndef POSTERN_GATEWAY_POP3_SESSION_METRICS_H_
#define POSTERN_GATEWAY_POP3_SESSION_METRICS_H_

#include "services/platform/metrics.h"

namespace postern::gateway_pop3 {

// Looked up once; any thread.
struct SessionMetrics {
  platform::Counter& sessions;
  platform::Histogram& session_seconds;
  platform::Counter& logins_ok;
  platform::Counter& logins_failed;
  platform::Counter& logins_in_use;
  platform::Counter& logins_unavailable;
  // From AUTH or PASS to the open maildrop.
  platform::Histogram& login_seconds;
  platform::Gauge& open_maildrops;
  platform::Counter& messages_retrieved;
  platform::Counter& octets_retrieved;
  platform::Counter& retrievals_failed;
  platform::Counter& messages_deleted;
  platform::Counter& commits_failed;
};

const SessionMetrics& Metrics();

}  // namespace postern::gateway_pop3

#endif  // POSTERN_GATEWAY_POP3_SESSION_METRICS_H_
