#include "store-svc/rpc/delivery_outcome.h"

#include "services/platform/log.h"
#include "services/platform/metrics.h"

namespace postern::store {
namespace {

platform::Counter& Deliveries(const char* result) {
  return platform::GetCounter("postern_store_deliveries_total", "Deliveries by what became of them",
                              {{"result", result}});
}

}  // namespace

void RecordDelivery(const platform::CallContext& call, const absl::StatusOr<DeliveryResult>& result,
                    size_t recipients, uint64_t octets) {
  static platform::Counter& committed = Deliveries("committed");
  static platform::Counter& repeated = Deliveries("repeated");
  static platform::Counter& refused = Deliveries("refused");
  static platform::Counter& failed = Deliveries("failed");
  static platform::Counter& entries = platform::GetCounter(
      "postern_store_entries_total", "Messages put into mailboxes, each recipient's counted");
  static platform::Counter& body_octets =
      platform::GetCounter("postern_store_body_bytes_total", "Bodies committed, uncompressed");

  if (result.ok() && result->repeated) {
    repeated.Add();
  } else if (result.ok()) {
    committed.Add();
    entries.Add(static_cast<double>(recipients));
    body_octets.Add(static_cast<double>(octets));
  } else if (absl::IsResourceExhausted(result.status()) || absl::IsAlreadyExists(result.status()) ||
             absl::IsInvalidArgument(result.status())) {
    refused.Add();
  } else {
    failed.Add();
  }

  const platform::LogLevel level =
      result.ok() ? platform::LogLevel::kDebug : platform::LogLevel::kWarning;
  if (!platform::LogEnabled(level)) return;
  platform::Log(level, result.ok() ? "delivery committed" : "delivery refused",
                {{"trace", call.trace.trace_id},
                 {"recipients", recipients},
                 {"octets", octets},
                 {"repeated", result.ok() && result->repeated},
                 {"status", result.status().ToString()}});
}

}  // namespace postern::store
