// What store-svc's calls count for /metrics.
#ifndef POSTERN_STORE_SVC_RPC_STORE_METRICS_H_
#define POSTERN_STORE_SVC_RPC_STORE_METRICS_H_

#include "services/telemetry/metrics.h"

namespace postern::store {

struct StoreMetrics {
  telemetry::Counter& committed;
  telemetry::Counter& repeated;
  telemetry::Counter& refused;
  telemetry::Counter& failed;
  telemetry::Counter& entries;
  telemetry::Counter& body_bytes;
  telemetry::Counter& many_requests;
  telemetry::Counter& retrieved_bytes;
  telemetry::Counter& deletions;
  telemetry::Gauge& leases;
};

// Any thread. The first call makes them.
const StoreMetrics& Metrics();

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_RPC_STORE_METRICS_H_
