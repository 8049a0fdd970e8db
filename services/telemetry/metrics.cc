#include "services/telemetry/metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "prometheus/text_serializer.h"

namespace postern::telemetry {
namespace {

class PrometheusCounter final : public Counter {
 public:
  PrometheusCounter(prometheus::Family<prometheus::Counter>& family, const MetricLabels& labels)
      : family_(family), counter_(family.Add(labels)) {}
  ~PrometheusCounter() { family_.Remove(&counter_); }
  PrometheusCounter(const PrometheusCounter&) = delete;
  PrometheusCounter& operator=(const PrometheusCounter&) = delete;
  void Add(double n) override { counter_.Increment(n); }

 private:
  prometheus::Family<prometheus::Counter>& family_;
  prometheus::Counter& counter_;
};

class PrometheusGauge final : public Gauge {
 public:
  explicit PrometheusGauge(prometheus::Gauge& gauge) : gauge_(gauge) {}
  void Add(double n) override { gauge_.Increment(n); }
  void Set(double n) override { gauge_.Set(n); }

 private:
  prometheus::Gauge& gauge_;
};

class PrometheusHistogram final : public Histogram {
 public:
  explicit PrometheusHistogram(prometheus::Histogram& histogram) : histogram_(histogram) {}
  void Observe(double value) override { histogram_.Observe(value); }

 private:
  prometheus::Histogram& histogram_;
};

const std::vector<double>& LatencyBuckets() {
  static const auto& buckets =
      *new std::vector<double>{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                               0.1,    0.25,    0.5,    1,     2.5,    5,     10,   30,    100};
  return buckets;
}

const std::vector<double>& SizeBuckets() {
  static const auto& buckets =
      *new std::vector<double>{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
  return buckets;
}

// What Prometheus' own clients export of a process, under the conventional names.
class ProcessMetrics {
 public:
  explicit ProcessMetrics(prometheus::Registry& registry)
      : cpu_(Make(registry, "process_cpu_seconds_total", "User and system CPU time.")),
        resident_(Make(registry, "process_resident_memory_bytes", "Resident memory.")),
        peak_(Make(registry, "process_peak_resident_memory_bytes", "Peak of resident memory.")),
        start_(Make(registry, "process_start_time_seconds", "Unix time of the start.")) {
    start_.Set(
        std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count());
  }

  void Read() {
    rusage usage{};
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
      cpu_.Set(Seconds(usage.ru_utime) + Seconds(usage.ru_stime));
      peak_.Set(static_cast<double>(usage.ru_maxrss) * 1024);  // Linux counts in KiB.
    }
    if (std::FILE* file = std::fopen("/proc/self/statm", "re"); file != nullptr) {
      long resident = 0;
      if (std::fscanf(file, "%*d %ld", &resident) == 1) {
        resident_.Set(static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)));
      }
      std::fclose(file);
    }
  }

 private:
  static prometheus::Gauge& Make(prometheus::Registry& registry, const char* name,
                                 const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
  }
  static double Seconds(const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  }

  prometheus::Gauge& cpu_;
  prometheus::Gauge& resident_;
  prometheus::Gauge& peak_;
  prometheus::Gauge& start_;
};

// The registry keeps the values; this keeps our objects for them.
class Metrics {
 public:
  static Metrics& Get() {
    static auto& metrics = *new Metrics();
    return metrics;
  }

  Counter& GetCounter(absl::string_view name, absl::string_view help, const MetricLabels& labels) {
    absl::MutexLock lock(&mutex_);
    return GetOrMake(counters_, name, labels, [&] {
      return std::make_unique<PrometheusCounter>(prometheus::BuildCounter()
                                                     .Name(std::string(name))
                                                     .Help(std::string(help))
                                                     .Register(registry_),
                                                 labels);
    });
  }

  void DropCounter(absl::string_view name, const MetricLabels& labels) {
    absl::MutexLock lock(&mutex_);
    counters_.erase(Key(std::string(name), labels));
  }

  Gauge& GetGauge(absl::string_view name, absl::string_view help, const MetricLabels& labels) {
    absl::MutexLock lock(&mutex_);
    return GetOrMake(gauges_, name, labels, [&] {
      return std::make_unique<PrometheusGauge>(prometheus::BuildGauge()
                                                   .Name(std::string(name))
                                                   .Help(std::string(help))
                                                   .Register(registry_)
                                                   .Add(labels));
    });
  }

  Histogram& GetHistogram(absl::string_view name, absl::string_view help,
                          const MetricLabels& labels, const std::vector<double>& buckets) {
    absl::MutexLock lock(&mutex_);
    return GetOrMake(histograms_, name, labels, [&] {
      return std::make_unique<PrometheusHistogram>(prometheus::BuildHistogram()
                                                       .Name(std::string(name))
                                                       .Help(std::string(help))
                                                       .Register(registry_)
                                                       .Add(labels, buckets));
    });
  }

  std::string Render() {
    absl::MutexLock lock(&mutex_);
    process_.Read();
    return prometheus::TextSerializer().Serialize(registry_.Collect());
  }

 private:
  using Key = std::pair<std::string, MetricLabels>;

  template <typename T, typename Make>
  T& GetOrMake(std::map<Key, std::unique_ptr<T>>& known, absl::string_view name,
               const MetricLabels& labels, const Make& make) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::unique_ptr<T>& metric = known[Key(std::string(name), labels)];
    if (metric == nullptr) {
      try {
        metric = make();
      } catch (const std::exception& e) {
        // A bad name, or a name of two kinds: ours alone, found by any test that gets here.
        std::fprintf(stderr, "metric %s: %s\n", std::string(name).c_str(), e.what());
        std::abort();
      }
    }
    return *metric;
  }

  prometheus::Registry registry_;
  ProcessMetrics process_{registry_};
  absl::Mutex mutex_;
  std::map<Key, std::unique_ptr<PrometheusCounter>> counters_ ABSL_GUARDED_BY(mutex_);
  std::map<Key, std::unique_ptr<PrometheusGauge>> gauges_ ABSL_GUARDED_BY(mutex_);
  std::map<Key, std::unique_ptr<PrometheusHistogram>> histograms_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

Counter& GetCounter(absl::string_view name, absl::string_view help, const MetricLabels& labels) {
  return Metrics::Get().GetCounter(name, help, labels);
}

void DropCounter(absl::string_view name, const MetricLabels& labels) {
  Metrics::Get().DropCounter(name, labels);
}

Gauge& GetGauge(absl::string_view name, absl::string_view help, const MetricLabels& labels) {
  return Metrics::Get().GetGauge(name, help, labels);
}

Histogram& GetLatencyHistogram(absl::string_view name, absl::string_view help,
                               const MetricLabels& labels) {
  return Metrics::Get().GetHistogram(name, help, labels, LatencyBuckets());
}

Histogram& GetSizeHistogram(absl::string_view name, absl::string_view help,
                            const MetricLabels& labels) {
  return Metrics::Get().GetHistogram(name, help, labels, SizeBuckets());
}

std::string RenderMetrics() { return Metrics::Get().Render(); }

}  // namespace postern::telemetry
