#include "store-svc/rpc/store_metrics.h"

namespace postern::store {
namespace {

using telemetry::GetCounter;

telemetry::Counter& Deliveries(const char* result) {
  return GetCounter("postern_store_deliveries_total", "Deliveries by what became of them.",
                    {{"result", result}});
}

}  // namespace

const StoreMetrics& Metrics() {
  static const StoreMetrics& metrics = *new StoreMetrics{
      Deliveries("committed"),
      Deliveries("repeated"),
      Deliveries("refused"),
      Deliveries("failed"),
      GetCounter("postern_store_entries_total",
                 "Messages put into mailboxes, each recipient's counted."),
      GetCounter("postern_store_body_bytes_total", "Bodies committed, uncompressed."),
      GetCounter("postern_store_deliver_many_requests_total",
                 "Requests that DeliverMany calls brought; one may hold many deliveries."),
      GetCounter("postern_store_retrieved_bytes_total", "Octets of messages that were read."),
      GetCounter("postern_store_deletions_total", "Messages that sessions asked to delete."),
      telemetry::GetGauge("postern_store_leases", "Maildrops whose lease is held or in its grace."),
  };
  return metrics;
}

}  // namespace postern::store
