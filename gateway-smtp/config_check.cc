#include "gateway-smtp/config_check.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/net/gateway.h"

namespace postern::gateway_smtp {
namespace {

using config::v1::GatewaySmtp;

// It stands in greetings and in every message's Received field.
bool IsHostname(absl::string_view name) {
  if (name.empty() || name.size() > 255 || name.front() == '.' || name.back() == '.') return false;
  for (const char c : name) {
    if (!absl::ascii_isalnum(c) && c != '-' && c != '.') return false;
  }
  return true;
}

absl::Status WantsTarget(const char* setting, const config::v1::RpcTarget& target,
                         absl::string_view role) {
  if (!target.target().empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(setting, ".target: absent, and role ", role, " wants it"));
}

absl::Status CheckSubmission(const GatewaySmtp& config) {
  if (!config.auth_required()) {
    return absl::InvalidArgumentError(
        "auth_required: false in role submission would be an open relay");
  }
  if (!config.verify_identity()) {
    return absl::InvalidArgumentError(
        "verify_identity: false in role submission would let users send as anyone");
  }
  for (const config::v1::Listener& listener : config.listeners()) {
    if (listener.tls_enabled() || listener.implicit_tls()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("listeners: \"", listener.name(),
                     "\": tls_enabled or implicit_tls must be true in role submission: without TLS "
                     "nobody could log in"));
  }
  return WantsTarget("auth_svc", config.auth_svc(), "submission");
}

}  // namespace

absl::Status CheckConfig(const GatewaySmtp& config) {
  if (!IsHostname(config.hostname())) {
    return absl::InvalidArgumentError(
        absl::StrCat("hostname: \"", config.hostname(), "\" is no host name"));
  }
  absl::Status status = net::CheckListeners(config.listeners(), config.security_domains());
  if (!status.ok()) return status;
  switch (config.role()) {
    case GatewaySmtp::mx:
      status = WantsTarget("store_svc", config.store_svc(), "mx");
      break;
    case GatewaySmtp::submission:
      status = CheckSubmission(config);
      break;
    default:
      return absl::InvalidArgumentError("role: mx or submission");
  }
  if (!status.ok()) return status;
  return WantsTarget("relay_svc", config.relay_svc(), GatewaySmtp::Role_Name(config.role()));
}

}  // namespace postern::gateway_smtp
