// Counters, gauges and latency histograms for /metrics. Process-wide; registration is cheap and
// idempotent, the returned objects live for ever (but for DropCounter) and may be used from any
// thread.
#ifndef POSTERN_SERVICES_TELEMETRY_METRICS_H_
#define POSTERN_SERVICES_TELEMETRY_METRICS_H_

#include <map>
#include <string>

#include "absl/strings/string_view.h"

namespace postern::telemetry {

using MetricLabels = std::map<std::string, std::string>;

class Counter {
 public:
  virtual void Add(double n = 1) = 0;

 protected:
  ~Counter() = default;
};

class Gauge {
 public:
  virtual void Add(double n) = 0;
  virtual void Set(double n) = 0;

 protected:
  ~Gauge() = default;
};

class Histogram {
 public:
  virtual void Observe(double value) = 0;

 protected:
  ~Histogram() = default;
};

// Names are Prometheus': "postern_smtp_sessions_total", base units (seconds, bytes), labels with
// few values only.
Counter& GetCounter(absl::string_view name, absl::string_view help,
                    const MetricLabels& labels = {});
// Takes a counter out of /metrics, and ends its life: the one who calls it sees to it that nobody
// else uses it. Nothing when there is none.
void DropCounter(absl::string_view name, const MetricLabels& labels);
Gauge& GetGauge(absl::string_view name, absl::string_view help, const MetricLabels& labels = {});
// Buckets from 100 us to 100 s.
Histogram& GetLatencyHistogram(absl::string_view name, absl::string_view help,
                               const MetricLabels& labels = {});
// Buckets 1, 2, 4 ... 1024: sizes of groups.
Histogram& GetSizeHistogram(absl::string_view name, absl::string_view help,
                            const MetricLabels& labels = {});

// The text exposition format.
std::string RenderMetrics();

}  // namespace postern::telemetry

#endif  // POSTERN_SERVICES_TELEMETRY_METRICS_H_
