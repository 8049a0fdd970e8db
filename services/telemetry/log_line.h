// One line of the log, as JSON or for people. Pure: log.cc gives it the time and writes it out.
#ifndef POSTERN_SERVICES_TELEMETRY_LOG_LINE_H_
#define POSTERN_SERVICES_TELEMETRY_LOG_LINE_H_

#include <initializer_list>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/telemetry/log.h"

namespace postern::telemetry {

absl::string_view LogLevelName(LogLevel level);

// No line end inside or after: a hostile string can't make a second line. RFC 8259, and what is not
// UTF-8 becomes U+FFFD.
std::string JsonLogLine(absl::Time time, LogLevel level, absl::string_view service,
                        absl::string_view event, std::initializer_list<LogField> fields);
// "2026-01-02T03:04:05.678Z INFO store-svc: event key=value". Control characters are escaped: no
// value can drive a terminal.
std::string TextLogLine(absl::Time time, LogLevel level, absl::string_view service,
                        absl::string_view event, std::initializer_list<LogField> fields);

}  // namespace postern::telemetry

#endif  // POSTERN_SERVICES_TELEMETRY_LOG_LINE_H_
