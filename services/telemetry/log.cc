#include "services/telemetry/log.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/telemetry/log_line.h"
#include "services/telemetry/metrics.h"
#include "spdlog/async_logger.h"
#include "spdlog/details/thread_pool.h"
#include "spdlog/logger.h"
#include "spdlog/sinks/base_sink.h"

namespace postern::telemetry {
namespace {

constexpr size_t kMaxWaiting = 4096;
constexpr absl::Duration kLongestFlush = absl::Seconds(2);

// To stderr, a line for each message; says how many it wrote.
class StderrSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  uint64_t written() const { return written_.load(std::memory_order_acquire); }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    line_.assign(message.payload.data(), message.payload.size());
    line_ += '\n';
    // One write for a line, so that those of several processes don't mix.
    absl::string_view left = line_;
    while (!left.empty()) {
      const ssize_t octets = write(STDERR_FILENO, left.data(), left.size());
      if (octets < 0 && errno == EINTR) continue;
      // There is nowhere to complain.
      if (octets < 0) break;
      left.remove_prefix(static_cast<size_t>(octets));
    }
    written_.fetch_add(1, std::memory_order_release);
  }
  void flush_() override {}

  std::string line_;
  std::atomic<uint64_t> written_{0};
};

struct Logger {
  std::string service;
  LogFormat format = LogFormat::kText;
  std::shared_ptr<StderrSink> sink = std::make_shared<StderrSink>();
  // What of spdlog carries lines to the sink; the lines are ours. Without a writer they go there on
  // the thread that logs.
  std::shared_ptr<spdlog::details::thread_pool> writer;
  std::shared_ptr<spdlog::logger> out;
  std::atomic<uint64_t> accepted{0};
  // Since the last line that said so.
  std::atomic<uint64_t> dropped{0};
  // The one it took over from: a thread may still be writing with it.
  const Logger* before = nullptr;

  // Lines that wait for the writer.
  uint64_t Waiting() const { return accepted.load(std::memory_order_relaxed) - sink->written(); }
  void Put(const std::string& line) {
    accepted.fetch_add(1, std::memory_order_relaxed);
    out->log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
  }
};

Logger* NewLogger(absl::string_view service, LogFormat format) {
  auto* const logger = new Logger;
  logger->service = std::string(service);
  logger->format = format;
  logger->out = std::make_shared<spdlog::logger>("postern", logger->sink);
  return logger;
}

std::atomic<LogLevel> minimum{LogLevel::kInfo};

// Never freed: other threads may log until the process is gone.
std::atomic<Logger*>& Current() {
  static std::atomic<Logger*> current{NewLogger("", LogFormat::kText)};
  return current;
}

Counter& Dropped() {
  static Counter& counter =
      GetCounter("postern_log_lines_dropped_total", "Log lines that stderr was too slow for.");
  return counter;
}

std::string Line(const Logger& logger, LogLevel level, absl::string_view event,
                 std::initializer_list<LogField> fields) {
  return logger.format == LogFormat::kJson
             ? JsonLogLine(absl::Now(), level, logger.service, event, fields)
             : TextLogLine(absl::Now(), level, logger.service, event, fields);
}

}  // namespace

void InitLogging(absl::string_view service, LogLevel level, LogFormat format) {
  Dropped();  // A rate misses what made its counter appear.
  minimum.store(level, std::memory_order_relaxed);
  Logger* const logger = NewLogger(service, format);
  // A bit more than may wait: threads look first and put later.
  logger->writer = std::make_shared<spdlog::details::thread_pool>(kMaxWaiting + 256, 1);
  logger->out = std::make_shared<spdlog::async_logger>("postern", logger->sink, logger->writer);
  logger->before = Current().load(std::memory_order_acquire);
  Current().store(logger, std::memory_order_release);
}

void FlushLog() {
  const Logger& logger = *Current().load(std::memory_order_acquire);
  const absl::Time end = absl::Now() + kLongestFlush;
  while (logger.Waiting() > 0 && absl::Now() < end) absl::SleepFor(absl::Milliseconds(1));
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
  Logger& logger = *Current().load(std::memory_order_acquire);
  if (logger.Waiting() >= kMaxWaiting) {
    logger.dropped.fetch_add(1, std::memory_order_relaxed);
    Dropped().Add();
    return;
  }
  if (logger.dropped.load(std::memory_order_relaxed) > 0) {
    const uint64_t dropped = logger.dropped.exchange(0, std::memory_order_relaxed);
    if (dropped > 0) {
      logger.Put(Line(logger, LogLevel::kWarning, "log lines dropped", {{"count", dropped}}));
    }
  }
  logger.Put(Line(logger, level, event, fields));
}

bool LogEnabled(LogLevel level) { return level >= minimum.load(std::memory_order_relaxed); }

}  // namespace postern::telemetry
