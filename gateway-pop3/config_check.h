// What the rules of single settings can't say.
#ifndef POSTERN_GATEWAY_POP3_CONFIG_CHECK_H_
#define POSTERN_GATEWAY_POP3_CONFIG_CHECK_H_

#include "absl/status/status.h"
#include "proto/postern/config/v1/gateway.pb.h"

namespace postern::gateway_pop3 {

// INVALID_ARGUMENT names the setting.
absl::Status CheckConfig(const config::v1::GatewayPop3& config);

}  // namespace postern::gateway_pop3

#endif  // POSTERN_GATEWAY_POP3_CONFIG_CHECK_H_
