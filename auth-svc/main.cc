#include "auth-svc/service.h"
#include "proto/postern/config/v1/auth_svc.pb.h"
#include "services/process/service_main.h"

int main(int argc, char** argv) {
  return postern::process::ServiceMain<postern::config::v1::AuthSvc>(
      argc, argv, "auth-svc", &postern::auth::CheckConfig, &postern::auth::MakeService,
      &postern::auth::Migrate, &postern::auth::CopyDatabase);
}
