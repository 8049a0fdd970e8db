#include "gateway-pop3/config_check.h"
#include "gateway-pop3/service.h"
#include "proto/postern/config/v1/gateway.pb.h"
#include "services/process/service_main.h"

int main(int argc, char** argv) {
  return postern::process::ServiceMain<postern::config::v1::GatewayPop3>(
      argc, argv, "gateway-pop3", &postern::gateway_pop3::CheckConfig,
      &postern::gateway_pop3::MakeService);
}
