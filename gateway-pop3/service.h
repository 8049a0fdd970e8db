// A running POP3 gateway: channels, clients, listeners.
#ifndef POSTERN_GATEWAY_POP3_SERVICE_H_
#define POSTERN_GATEWAY_POP3_SERVICE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "proto/postern/config/v1/gateway.pb.h"
#include "services/process/service_main.h"

namespace postern::gateway_pop3 {

// `config` passed CheckConfig. INVALID_ARGUMENT names the setting, file or address at fault.
absl::StatusOr<std::unique_ptr<process::RunningService>> MakeService(
    const config::v1::GatewayPop3& config);

}  // namespace postern::gateway_pop3

#endif  // POSTERN_GATEWAY_POP3_SERVICE_H_
