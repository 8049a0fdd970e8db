#include "services/telemetry/metrics.h"

#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace postern::telemetry {
namespace {

bool Rendered(const std::string& line) {
  return RenderMetrics().find("\n" + line + "\n") != std::string::npos;
}

TEST(MetricsTest, CounterGaugeAndLabels) {
  GetCounter("test_counter_total", "Counts.", {{"kind", "a"}}).Add();
  GetCounter("test_counter_total", "Counts.", {{"kind", "a"}}).Add(2);
  GetCounter("test_counter_total", "Counts.", {{"kind", "b"}}).Add();
  Gauge& gauge = GetGauge("test_gauge", "Measures.");
  gauge.Set(5);
  gauge.Add(-2);
  EXPECT_TRUE(Rendered("test_counter_total{kind=\"a\"} 3")) << RenderMetrics();
  EXPECT_TRUE(Rendered("test_counter_total{kind=\"b\"} 1"));
  EXPECT_TRUE(Rendered("# TYPE test_counter_total counter"));
  EXPECT_TRUE(Rendered("test_gauge 3"));
}

TEST(MetricsTest, TheSameNameIsTheSameObject) {
  EXPECT_EQ(&GetCounter("test_same_total", "x"), &GetCounter("test_same_total", "x"));
  EXPECT_NE(&GetCounter("test_same_total", "x"), &GetCounter("test_same_total", "x", {{"a", "b"}}));
}

TEST(MetricsTest, ADroppedCounterIsGoneAndBeginsAnew) {
  GetCounter("test_dropped_total", "x", {{"a", "b"}}).Add();
  GetCounter("test_dropped_total", "x", {{"a", "c"}}).Add();
  DropCounter("test_dropped_total", {{"a", "b"}});
  DropCounter("test_dropped_total", {{"a", "d"}});
  EXPECT_EQ(RenderMetrics().find("test_dropped_total{a=\"b\"}"), std::string::npos);
  EXPECT_TRUE(Rendered("test_dropped_total{a=\"c\"} 1"));
  GetCounter("test_dropped_total", "x", {{"a", "b"}}).Add(2);
  EXPECT_TRUE(Rendered("test_dropped_total{a=\"b\"} 2"));
}

TEST(MetricsTest, HistogramsCountIntoTheirBuckets) {
  Histogram& latency = GetLatencyHistogram("test_latency_seconds", "Takes.");
  latency.Observe(0.00005);
  latency.Observe(0.3);
  latency.Observe(1000);
  EXPECT_TRUE(Rendered("test_latency_seconds_bucket{le=\"0.0001\"} 1")) << RenderMetrics();
  EXPECT_TRUE(Rendered("test_latency_seconds_bucket{le=\"0.5\"} 2"));
  EXPECT_TRUE(Rendered("test_latency_seconds_bucket{le=\"100\"} 2"));
  EXPECT_TRUE(Rendered("test_latency_seconds_bucket{le=\"+Inf\"} 3"));
  Histogram& size = GetSizeHistogram("test_group_size", "Holds.");
  size.Observe(3);
  EXPECT_TRUE(Rendered("test_group_size_bucket{le=\"2\"} 0"));
  EXPECT_TRUE(Rendered("test_group_size_bucket{le=\"4\"} 1"));
}

TEST(MetricsTest, ThreadsLoseNothing) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      Counter& counter = GetCounter("test_threads_total", "Counts.");
      for (int i = 0; i < 10000; ++i) {
        counter.Add();
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_TRUE(Rendered("test_threads_total 40000"));
}

TEST(MetricsTest, ShowsTheProcess) {
  const std::string text = RenderMetrics();
  for (const char* name : {"\nprocess_resident_memory_bytes ", "\nprocess_cpu_seconds_total ",
                           "\nprocess_start_time_seconds "}) {
    const size_t at = text.find(name);
    ASSERT_NE(at, std::string::npos) << name;
    EXPECT_GT(std::stod(text.substr(at + std::string(name).size())), 0) << name;
  }
}

}  // namespace
}  // namespace postern::telemetry
