// relay-svc, wired.
#ifndef POSTERN_RELAY_SVC_SERVICE_H_
#define POSTERN_RELAY_SVC_SERVICE_H_

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/postern/config/v1/relay_svc.pb.h"
#include "services/process/service_main.h"

namespace postern::relay {

// What the rules of a field can't judge. INVALID_ARGUMENT names the setting.
absl::Status CheckConfig(const config::v1::RelaySvc& config);

// Brings the PostgreSQL schema up to date; says what it did.
absl::StatusOr<std::string> Migrate(const config::v1::RelaySvc& config);

// `relay-svc copy-database`: as storage::copy::CopyDatabase.
absl::StatusOr<std::string> CopyDatabase(const config::v1::RelaySvc& from,
                                         const config::v1::RelaySvc& to,
                                         absl::FunctionRef<void(absl::string_view)> say);

absl::StatusOr<std::unique_ptr<process::RunningService>> MakeService(
    const config::v1::RelaySvc& config);

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_SERVICE_H_
