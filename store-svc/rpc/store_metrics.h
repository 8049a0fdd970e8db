// What store-svc's calls count for /metrics.
#ifndef POSTERN_STORE_SVC_RPC_STORE_METRICS_H_
#define POSTERN_STORE_SVC_RPC_STORE_METRICS_H_

#include "services/platform/metrics.h"

namespace postern::store {

struct StoreMetrics {
  platform::Counter& committed;
  platform::Counter& repeated;
  platform::Counter& refused;
  platform::Counter& failed;
  platform::Counter& entries;
  platform::Counter& body_bytes;
  platform::Counter& many_requests;
  platform::Counter& retrieved_bytes;
  platform::Counter& deletions;
  platform::Gauge& leases;
};

// Any thread. The first call makes them.
const StoreMetrics& Metrics();

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_RPC_STORE_METRICS_H_
