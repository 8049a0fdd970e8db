#include "services/telemetry/bounded_counters.h"

#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/telemetry/metrics.h"

namespace postern::telemetry {
namespace {

using testing::ElementsAre;
using testing::Pair;

// What /metrics has of `name`, by the value of its label `who`.
std::map<std::string, double> Series(absl::string_view name) {
  std::map<std::string, double> series;
  for (absl::string_view line : absl::StrSplit(RenderMetrics(), '\n')) {
    if (!absl::ConsumePrefix(&line, absl::StrCat(name, "{who=\""))) continue;
    const std::vector<std::string> parts = absl::StrSplit(line, "\"} ");
    double count = 0;
    EXPECT_TRUE(parts.size() == 2 && absl::SimpleAtod(parts[1], &count)) << line;
    series[parts[0]] = count;
  }
  return series;
}

absl::Time At(int seconds) { return absl::UnixEpoch() + absl::Seconds(seconds); }

TEST(BoundedCountersTest, FirstComeFirstServed) {
  BoundedCounters counters("test_first_total", "x", "who", 2, absl::Seconds(10));
  EXPECT_THAT(Series("test_first_total"), ElementsAre(Pair("other", 0)));
  for (const char* value : {"a", "b", "c", "a", "c", "d"}) counters.Add(value, At(0));
  EXPECT_THAT(Series("test_first_total"),
              ElementsAre(Pair("a", 2), Pair("b", 1), Pair("other", 3)));
}

TEST(BoundedCountersTest, TheOneThatIsIdleLongestMakesRoom) {
  BoundedCounters counters("test_idle_total", "x", "who", 2, absl::Seconds(10));
  const struct {
    const char* value;
    int second;
    std::map<std::string, double> series;
  } kSteps[] = {
      {"a", 0, {{"a", 1}, {"other", 0}}},
      {"b", 1, {{"a", 1}, {"b", 1}, {"other", 0}}},
      {"a", 5, {{"a", 2}, {"b", 1}, {"other", 0}}},
      {"c", 10, {{"a", 2}, {"b", 1}, {"other", 1}}},
      // b's ten seconds are over; nobody else's are.
      {"c", 11, {{"a", 2}, {"c", 1}, {"other", 1}}},
      {"b", 14, {{"a", 2}, {"c", 1}, {"other", 2}}},
      // Idle is no reason to go while nobody wants the place, or when one comes back first.
      {"a", 60, {{"a", 3}, {"c", 1}, {"other", 2}}},
      // Whoever comes back begins anew, as after a restart.
      {"b", 61, {{"a", 3}, {"b", 1}, {"other", 2}}},
      // The clock was set back.
      {"d", 0, {{"a", 3}, {"b", 1}, {"other", 3}}},
  };
  for (const auto& step : kSteps) {
    counters.Add(step.value, At(step.second));
    EXPECT_EQ(Series("test_idle_total"), step.series) << step.value << " at " << step.second;
  }
}

TEST(BoundedCountersTest, IsBoundedWhateverComes) {
  constexpr size_t kMax = 50;
  BoundedCounters counters("test_flood_total", "x", "who", kMax, absl::Seconds(900));
  const auto flood = [&counters](int round) {
    for (int i = 0; i < 10000; ++i) counters.Add(absl::StrCat(round, ".", i), At(round * 900));
  };
  for (int round = 0; round < 3; ++round) {
    flood(round);
    const std::map<std::string, double> series = Series("test_flood_total");
    EXPECT_EQ(series.size(), kMax + 1);
    EXPECT_EQ(series.at("other"), (round + 1) * (10000 - kMax));
  }
  BoundedCounters none("test_none_total", "x", "who", 0, absl::Seconds(900));
  none.Add("a", At(0));
  EXPECT_THAT(Series("test_none_total"), ElementsAre(Pair("other", 1)));
}

TEST(BoundedCountersTest, ThreadsLoseNothing) {
  BoundedCounters counters("test_together_total", "x", "who", 3, absl::Seconds(10));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&counters] {
      for (int i = 0; i < 5000; ++i) counters.Add(absl::StrCat(i % 5), At(0));
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::map<std::string, double> series = Series("test_together_total");
  EXPECT_EQ(series.size(), 4u);
  double sum = 0;
  for (const auto& [value, count] : series) sum += count;
  EXPECT_EQ(sum, 20000);
}

}  // namespace
}  // namespace postern::telemetry
