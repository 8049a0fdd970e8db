#include "gateway-smtp/session_metrics.h"

namespace postern::gateway_smtp {
namespace {

using telemetry::GetCounter;
using telemetry::GetLatencyHistogram;

telemetry::Counter& Messages(const char* reply) {
  return GetCounter("postern_smtp_messages_total", "Messages, by the class of the reply to DATA.",
                    {{"reply", reply}});
}

telemetry::Counter& Authentications(const char* outcome) {
  return GetCounter("postern_smtp_authentications_total", "AUTH exchanges, by outcome.",
                    {{"outcome", outcome}});
}

}  // namespace

const SessionMetrics& Metrics() {
  static const SessionMetrics& metrics = *new SessionMetrics{
      GetCounter("postern_smtp_sessions_total", "SMTP sessions begun."),
      GetCounter("postern_smtp_sessions_foreign_total",
                 "Sessions that ended by HTTP, or by TLS where a command begins it."),
      GetLatencyHistogram("postern_smtp_session_seconds", "From a session's begin to its end."),
      Messages("2xx"),
      Messages("4xx"),
      Messages("5xx"),
      Messages("abandoned"),
      GetCounter("postern_smtp_message_bytes_total", "Octets of accepted messages."),
      GetLatencyHistogram("postern_smtp_commit_seconds",
                          "From the end of a message to the service's answer."),
      GetCounter("postern_smtp_recipients_refused_total", "RCPT that policy refused."),
      Authentications("ok"),
      Authentications("failed"),
      Authentications("unavailable"),
  };
  return metrics;
}

}  // namespace postern::gateway_smtp
