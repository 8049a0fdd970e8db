#include "services/telemetry/log.h"

#include <atomic>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/telemetry/log_line.h"
#include "spdlog/logger.h"
#include "spdlog/sinks/stdout_sinks.h"

namespace postern::telemetry {
namespace {

struct Logger {
  std::string service;
  LogFormat format = LogFormat::kText;
  // spdlog serializes the writes; the lines are ours.
  std::shared_ptr<spdlog::logger> out;
  // The one it took over from: a thread may still be writing with it.
  const Logger* before = nullptr;
};

Logger* NewLogger(absl::string_view service, LogFormat format) {
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  sink->set_pattern("%v");
  auto out = std::make_shared<spdlog::logger>("postern", std::move(sink));
  out->set_level(spdlog::level::trace);
  return new Logger{std::string(service), format, std::move(out), nullptr};
}

std::atomic<LogLevel> minimum{LogLevel::kInfo};

// Never freed: other threads may log until the process is gone.
std::atomic<Logger*>& Current() {
  static std::atomic<Logger*> current{NewLogger("", LogFormat::kText)};
  return current;
}

}  // namespace

void InitLogging(absl::string_view service, LogLevel level, LogFormat format) {
  minimum.store(level, std::memory_order_relaxed);
  Logger* const logger = NewLogger(service, format);
  logger->before = Current().load(std::memory_order_acquire);
  Current().store(logger, std::memory_order_release);
}

bool ParseLogLevel(absl::string_view text, LogLevel* level) {
  for (LogLevel candidate :
       {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    if (text == LogLevelName(candidate)) {
      *level = candidate;
      return true;
    }
  }
  return false;
}

void Log(LogLevel level, absl::string_view event, std::initializer_list<LogField> fields) {
  if (!LogEnabled(level)) {
    return;
  }
  const Logger& logger = *Current().load(std::memory_order_acquire);
  const std::string line = logger.format == LogFormat::kJson
                               ? JsonLogLine(absl::Now(), level, logger.service, event, fields)
                               : TextLogLine(absl::Now(), level, logger.service, event, fields);
  logger.out->log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

bool LogEnabled(LogLevel level) { return level >= minimum.load(std::memory_order_relaxed); }

}  // namespace postern::telemetry
