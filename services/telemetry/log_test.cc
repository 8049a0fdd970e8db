#include "services/telemetry/log.h"

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "services/telemetry/log_line.h"
#include "services/telemetry/metrics.h"

namespace postern::telemetry {
namespace {

const absl::Time kTime = absl::FromUnixMillis(1767323045678);  // 2026-01-02T03:04:05.678Z

TEST(LogLineTest, Json) {
  EXPECT_EQ(JsonLogLine(kTime, LogLevel::kInfo, "store-svc", "message accepted",
                        {{"session", "0123"},
                         {"octets", uint64_t{4096}},
                         {"balance", -7},
                         {"tls", true},
                         {"spool", false}}),
            R"({"time":"2026-01-02T03:04:05.678Z","level":"info","service":"store-svc",)"
            R"("event":"message accepted","session":"0123","octets":4096,"balance":-7,)"
            R"("tls":true,"spool":false})");
}

TEST(LogLineTest, Text) {
  EXPECT_EQ(TextLogLine(kTime, LogLevel::kWarning, "store-svc", "disk full",
                        {{"path", "/var/lib/x"}, {"why", "no space"}, {"n", 3}, {"empty", ""}}),
            R"(2026-01-02T03:04:05.678Z WARNING store-svc: disk full path=/var/lib/x )"
            R"(why="no space" n=3 empty="")");
}

std::string JsonValue(absl::string_view value) {
  const std::string line = JsonLogLine(kTime, LogLevel::kInfo, "", "e", {{"v", value}});
  const std::string mark = "\"v\":\"";
  const size_t start = line.find(mark) + mark.size();
  return line.substr(start, line.size() - 2 - start);
}

TEST(LogLineTest, HostileStringsStayInsideTheirQuotes) {
  const struct {
    std::string value;
    std::string escaped;
  } cases[] = {
      {"a\"b\\c", R"(a\"b\\c)"},
      {"x\r\n{\"level\":\"error\"}", R"(x\r\n{\"level\":\"error\"})"},
      {std::string("nul\0del\x7f\x1b[31m", 13), R"(nul\u0000del\u007f\u001b[31m)"},
      {"tab\t", R"(tab\t)"},
      {"gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x93\xAE",
       "gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x93\xAE"},
      {"csi \xC2\x9B", R"(csi \u009b)"},
      // Not UTF-8: a lone tail, an overlong slash, a surrogate, above U+10FFFF, a cut sequence.
      {"\x80", "\xEF\xBF\xBD"},
      {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"},
      {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
      {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
      {"\xE2\x82", "\xEF\xBF\xBD\xEF\xBF\xBD"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(JsonValue(c.value), c.escaped);
  }
}

TEST(LogLineTest, LongStringsAreCutBetweenCharacters) {
  EXPECT_EQ(JsonValue(std::string(1024, 'a')), std::string(1024, 'a'));
  EXPECT_EQ(JsonValue(std::string(5000, 'a')), std::string(1024, 'a') + "...");
  std::string euros = "x";
  while (euros.size() < 2000) {
    euros += "\xE2\x82\xAC";
  }
  // 1 + 341 * 3 = 1024.
  EXPECT_EQ(JsonValue("y" + euros).find("\xEF\xBF\xBD"), std::string::npos);
  EXPECT_EQ(JsonValue(euros).size(), 1024u + 3);
  // 2 + 340 * 3 = 1022: the next one would end after 1024.
  EXPECT_EQ(JsonValue("y" + euros).size(), 1022u + 3);
}

TEST(LogLineTest, TextCannotDriveATerminalOrMakeASecondLine) {
  const std::string line = TextLogLine(kTime, LogLevel::kInfo, "s", "e\n", {{"v", "\x1b]0;x\a\r"}});
  for (char c : line) {
    EXPECT_GE(c, 0x20) << line;
  }
}

TEST(LogTest, Levels) {
  LogLevel level = LogLevel::kInfo;
  EXPECT_TRUE(ParseLogLevel("debug", &level));
  EXPECT_EQ(level, LogLevel::kDebug);
  EXPECT_TRUE(ParseLogLevel("error", &level));
  EXPECT_EQ(level, LogLevel::kError);
  EXPECT_FALSE(ParseLogLevel("Error", &level));
  EXPECT_FALSE(ParseLogLevel("", &level));
  EXPECT_EQ(level, LogLevel::kError);
}

TEST(LogTest, WritesToStderrWhatIsEnabled) {
  testing::internal::CaptureStderr();
  InitLogging("auth-svc", LogLevel::kWarning, LogFormat::kJson);
  EXPECT_FALSE(LogEnabled(LogLevel::kInfo));
  EXPECT_TRUE(LogEnabled(LogLevel::kWarning));
  Log(LogLevel::kInfo, "not this");
  Log(LogLevel::kError, "this {} %s", {{"k", "v"}});
  FlushLog();
  const std::string written = testing::internal::GetCapturedStderr();
  EXPECT_EQ(written.find("not this"), std::string::npos);
  EXPECT_NE(written.find(R"("level":"error","service":"auth-svc","event":"this {} %s","k":"v"})"
                         "\n"),
            std::string::npos)
      << written;
}

// A stderr that nobody reads: a pipe, full.
TEST(LogTest, ASlowStderrHoldsNobodyUp) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const int before = dup(STDERR_FILENO);
  ASSERT_EQ(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
  InitLogging("auth-svc", LogLevel::kInfo, LogFormat::kJson);
  constexpr int kLines = 20000;
  const std::string padding(100, 'x');
  for (int i = 0; i < kLines; ++i) Log(LogLevel::kInfo, "line", {{"n", i}, {"p", padding}});
  // All that is left of them, as it comes when somebody reads again.
  std::string read;
  int written = 0;
  int dropped = 0;
  const auto take_line = [&](absl::string_view line) {
    int count = 0;
    if (absl::StrContains(line, R"("event":"line")")) ++written;
    if (const size_t at = line.find(R"("event":"log lines dropped","count":)");
        at != absl::string_view::npos) {
      std::sscanf(line.data() + at, R"("event":"log lines dropped","count":%d)", &count);
      dropped += count;
    }
  };
  bool said = false;
  while (written + dropped < kLines + 1) {
    char buffer[65536];
    const ssize_t octets = ::read(ends[0], buffer, sizeof(buffer));
    ASSERT_GT(octets, 0);
    read.append(buffer, static_cast<size_t>(octets));
    size_t end;
    while ((end = read.find('\n')) != std::string::npos) {
      take_line(read.substr(0, end));
      read.erase(0, end + 1);
    }
    // There is room by now: the next line says what was dropped.
    if (!said && written > 1000) {
      Log(LogLevel::kInfo, "line");
      said = true;
    }
  }
  FlushLog();
  dup2(before, STDERR_FILENO);
  for (const int descriptor : {before, ends[0], ends[1]}) close(descriptor);
  EXPECT_EQ(written + dropped, kLines + 1);
  EXPECT_GT(written, 4000);
  EXPECT_GT(dropped, 0);
  EXPECT_TRUE(absl::StrContains(RenderMetrics(),
                                absl::StrCat("postern_log_lines_dropped_total ", dropped)));
}

}  // namespace
}  // namespace postern::telemetry
