// A running SMTP gateway: channels, clients, listeners.
#ifndef POSTERN_GATEWAY_SMTP_SERVICE_H_
#define POSTERN_GATEWAY_SMTP_SERVICE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "proto/postern/config/v1/gateway.pb.h"
#include "services/process/service_main.h"

namespace postern::gateway_smtp {

// `config` passed CheckConfig. INVALID_ARGUMENT names the setting, file or address at fault.
absl::StatusOr<std::unique_ptr<process::RunningService>> MakeService(
    const config::v1::GatewaySmtp& config);

}  // namespace postern::gateway_smtp

#endif  // POSTERN_GATEWAY_SMTP_SERVICE_H_
