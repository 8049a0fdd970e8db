#include "relay-svc/service.h"

int main(int argc, char** argv) {
  return postern::process::ServiceMain<postern::config::v1::RelaySvc>(
      argc, argv, "relay-svc", &postern::relay::CheckConfig, &postern::relay::MakeService,
      &postern::relay::Migrate, &postern::relay::CopyDatabase);
}
