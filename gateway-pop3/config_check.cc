#include "gateway-pop3/config_check.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "services/net/gateway.h"

namespace postern::gateway_pop3 {

absl::Status CheckConfig(const config::v1::GatewayPop3& config) {
  // It stands in the greeting, where an angle bracket would look like APOP's timestamp.
  const std::string& hostname = config.hostname();
  const bool is_hostname = !hostname.empty() && hostname.size() <= 255 &&
                           std::all_of(hostname.begin(), hostname.end(), [](char c) {
                             return absl::ascii_isalnum(c) || c == '-' || c == '.';
                           });
  if (!is_hostname) {
    return absl::InvalidArgumentError(absl::StrCat("hostname: \"", hostname, "\" is no host name"));
  }
  absl::Status status = net::CheckListeners(config.listeners(), config.security_domains());
  if (!status.ok()) return status;
  for (const config::v1::Listener& listener : config.listeners()) {
    if (listener.tls_enabled() || listener.implicit_tls()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("listeners: \"", listener.name(),
                     "\": tls_enabled or implicit_tls must be true: without TLS nobody could log "
                     "in"));
  }
  if (config.auth_svc().target().empty()) {
    return absl::InvalidArgumentError("auth_svc.target: absent");
  }
  if (config.store_svc().target().empty()) {
    return absl::InvalidArgumentError("store_svc.target: absent");
  }
  return absl::OkStatus();
}

}  // namespace postern::gateway_pop3
