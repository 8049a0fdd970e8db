// Structured logs: one JSON object a line on stderr (or text for people), never a password, a token
// or a body.
#ifndef POSTERN_SERVICES_TELEMETRY_LOG_H_
#define POSTERN_SERVICES_TELEMETRY_LOG_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace postern::telemetry {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kJson, kText };

// One `"key":value` of a line. Holds no copy of a string_view: build it in the call to Log.
struct LogField {
  enum class Kind { kString, kInt, kBool };

  LogField(absl::string_view k, absl::string_view v) : key(k), kind(Kind::kString), text(v) {}
  LogField(absl::string_view k, const char* v) : LogField(k, absl::string_view(v)) {}
  LogField(absl::string_view k, const std::string& v) : LogField(k, absl::string_view(v)) {}
  LogField(absl::string_view k, bool v) : key(k), kind(Kind::kBool), number(v) {}
  template <typename T,
            typename = std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>>>
  LogField(absl::string_view k, T v) : key(k), kind(Kind::kInt), number(static_cast<int64_t>(v)) {}

  absl::string_view key;
  Kind kind;
  absl::string_view text;
  int64_t number = 0;
};

// Once, before other threads start. Before it, lines go out as text at level info, on the thread
// that logs. From then on a thread writes them, so that a slow stderr holds nobody up: 4096 lines
// may wait for it; those that find no room are counted (postern_log_lines_dropped_total), and a
// line says how many they were.
void InitLogging(absl::string_view service, LogLevel level, LogFormat format);

// Before the process ends: waits until what was logged is written, for 2 s at most.
void FlushLog();

// Accepts "debug", "info", "warning", "error".
bool ParseLogLevel(absl::string_view text, LogLevel* level);

// Any thread. `event` is a fixed phrase ("message accepted"); what varies is in the fields.
// Conventional keys: "session", "trace", "queue_id", "client", "status". Strings are escaped and
// cut at 1 KiB.
void Log(LogLevel level, absl::string_view event, std::initializer_list<LogField> fields = {});

// True when a line of this level would be written: guards the cost of building fields.
bool LogEnabled(LogLevel level);

}  // namespace postern::telemetry

#endif  // POSTERN_SERVICES_TELEMETRY_LOG_H_
