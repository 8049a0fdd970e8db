#include "gateway-pop3/session_metrics.h"

namespace postern::gateway_pop3 {

namespace {

using telemetry::GetCounter;
using telemetry::GetGauge;
using telemetry::GetLatencyHistogram;

telemetry::Counter& Logins(const char* outcome) {
  return GetCounter("postern_pop3_logins_total", "Logins, by outcome.", {{"outcome", outcome}});
}

}  // namespace

const SessionMetrics& Metrics() {
  static const SessionMetrics& metrics = *new SessionMetrics{
      GetCounter("postern_pop3_sessions_total", "POP3 sessions begun."),
      GetCounter("postern_pop3_sessions_foreign_total",
                 "Sessions that ended by HTTP, or by TLS where a command begins it."),
      GetLatencyHistogram("postern_pop3_session_seconds", "From a session's begin to its end."),
      Logins("ok"),
      Logins("failed"),
      Logins("in_use"),
      Logins("unavailable"),
      GetLatencyHistogram("postern_pop3_login_seconds",
                          "From the credentials to the open maildrop, or its refusal."),
      GetGauge("postern_pop3_open_maildrops", "Maildrops that sessions hold."),
      GetCounter("postern_pop3_messages_retrieved_total", "Messages sent, in whole or by TOP."),
      GetCounter("postern_pop3_retrieved_bytes_total", "Octets of messages sent."),
      GetCounter("postern_pop3_retrievals_failed_total", "Messages that could not be sent."),
      GetCounter("postern_pop3_messages_deleted_total", "Messages deleted by QUIT."),
      GetCounter("postern_pop3_commits_failed_total", "QUITs that could not delete."),
  };
  return metrics;
}

}  // namespace postern::gateway_pop3
