#include "store-svc/rpc/delivery_outcome.h"

#include "services/telemetry/log.h"
#include "store-svc/rpc/store_metrics.h"

namespace postern::store {
void RecordDelivery(const rpc::CallContext& call, const absl::StatusOr<DeliveryResult>& result,
                    size_t recipients, uint64_t octets) {
  if (result.ok() && result->repeated) {
    Metrics().repeated.Add();
  } else if (result.ok()) {
    Metrics().committed.Add();
    Metrics().entries.Add(static_cast<double>(recipients));
    Metrics().body_bytes.Add(static_cast<double>(octets));
  } else if (absl::IsResourceExhausted(result.status()) || absl::IsAlreadyExists(result.status()) ||
             absl::IsInvalidArgument(result.status())) {
    Metrics().refused.Add();
  } else {
    Metrics().failed.Add();
  }

  const telemetry::LogLevel level =
      result.ok() ? telemetry::LogLevel::kDebug : telemetry::LogLevel::kWarning;
  if (!telemetry::LogEnabled(level)) return;
  telemetry::Log(level, result.ok() ? "delivery committed" : "delivery refused",
                 {{"trace", call.trace.trace_id},
                  {"recipients", recipients},
                  {"octets", octets},
                  {"repeated", result.ok() && result->repeated},
                  {"status", result.status().ToString()}});
}

}  // namespace postern::store
