// What a gateway-smtp configuration must be beyond the rules of its fields.
#ifndef POSTERN_GATEWAY_SMTP_CONFIG_CHECK_H_
#define POSTERN_GATEWAY_SMTP_CONFIG_CHECK_H_

#include "absl/status/status.h"
#include "proto/postern/config/v1/gateway.pb.h"

namespace postern::gateway_smtp {

// INVALID_ARGUMENT names the setting. Nothing that would relay for strangers, take a password in
// clear, or start a listener that no one can use passes.
absl::Status CheckConfig(const config::v1::GatewaySmtp& config);

}  // namespace postern::gateway_smtp

#endif  // POSTERN_GATEWAY_SMTP_CONFIG_CHECK_H_
