#include "services/rpc/access_processor.h"

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/support/status.h"
#include "services/identity/access.h"
#include "services/rpc/tls.h"
#include "services/telemetry/log.h"
#include "services/telemetry/metrics.h"

namespace postern::rpc {
namespace {

// "/package.Service/Method" → "package.Service"; "" when it has no such form.
absl::string_view ServiceOf(absl::string_view path) {
  if (path.empty() || path[0] != '/') {
    return "";
  }
  const size_t end = path.find('/', 1);
  return end == absl::string_view::npos ? "" : path.substr(1, end - 1);
}

// The label is one of ours or "other": a caller can't make series.
absl::string_view ServiceLabel(absl::string_view service) {
  for (const identity::AccessRule& rule : identity::AccessRules()) {
    if (rule.grpc_service == service) {
      return service;
    }
  }
  return "other";
}

void Denied(absl::string_view caller, absl::string_view service) {
  telemetry::GetCounter("postern_rpc_denied_total",
                        "Calls turned away: this caller may not use that service.",
                        {{"caller", caller.empty() ? "none" : std::string(caller)},
                         {"service", std::string(ServiceLabel(service))}})
      .Add();
  // One line a second tells as much as a flood of them.
  static std::atomic<int64_t> last_logged{0};
  const int64_t now = absl::ToUnixSeconds(absl::Now());
  if (last_logged.exchange(now, std::memory_order_relaxed) != now) {
    telemetry::Log(telemetry::LogLevel::kWarning, "call denied",
                   {{"caller", caller.empty() ? "none" : caller}, {"grpc_service", service}});
  }
}

}  // namespace

grpc::Status AccessProcessor::Process(const InputMetadata& metadata, grpc::AuthContext* peer,
                                      OutputMetadata* /*consumed*/, OutputMetadata* /*response*/) {
  absl::string_view service;
  if (const auto path = metadata.find(":path"); path != metadata.end()) {
    service = ServiceOf(absl::string_view(path->second.data(), path->second.size()));
  }
  const absl::string_view caller = PeerIdentity(*peer);
  if (!identity::MayCall(caller, service)) {
    Denied(caller, service);
    return grpc::Status(grpc::StatusCode::PERMISSION_DENIED,
                        "this caller may not use this service");
  }
  return grpc::Status::OK;
}

}  // namespace postern::rpc
