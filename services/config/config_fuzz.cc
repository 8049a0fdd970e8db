// Any text is an error of one line or a configuration that prints and loads again as the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "proto/postern/config/v1/gateway.pb.h"
#include "proto/postern/config/v1/relay_svc.pb.h"
#include "services/config/config.h"

namespace {

template <typename Config>
void Try(absl::string_view yaml) {
  Config config;
  const absl::Status status = postern::config::ParseConfig(yaml, "fuzz.yaml", &config);
  if (!status.ok()) {
    if (!absl::IsInvalidArgument(status) ||
        status.message().find('\n') != absl::string_view::npos) {
      std::abort();
    }
    return;
  }
  const std::string printed = postern::config::PrintConfig(config);
  Config again;
  if (!postern::config::ParseConfig(printed, "printed.yaml", &again).ok() ||
      postern::config::PrintConfig(again) != printed) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view yaml(reinterpret_cast<const char*>(data), size);
  Try<postern::config::v1::GatewaySmtp>(yaml);
  Try<postern::config::v1::RelaySvc>(yaml);
  return 0;
}
