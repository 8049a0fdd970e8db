#include "gateway-smtp/config_check.h"
#include "gateway-smtp/service.h"
#include "proto/postern/config/v1/gateway.pb.h"
#include "services/process/service_main.h"

int main(int argc, char** argv) {
  return postern::process::ServiceMain<postern::config::v1::GatewaySmtp>(
      argc, argv, "gateway-smtp", &postern::gateway_smtp::CheckConfig,
      &postern::gateway_smtp::MakeService);
}
