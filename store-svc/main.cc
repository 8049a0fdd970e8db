#include "proto/postern/config/v1/store_svc.pb.h"
#include "services/process/service_main.h"
#include "store-svc/service.h"

int main(int argc, char** argv) {
  return postern::process::ServiceMain<postern::config::v1::StoreSvc>(
      argc, argv, "store-svc", &postern::store::CheckConfig, &postern::store::MakeService,
      &postern::store::Migrate, &postern::store::CopyDatabase);
}
