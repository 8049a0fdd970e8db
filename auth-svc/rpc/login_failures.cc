#include "auth-svc/rpc/login_failures.h"

#include <cstddef>

#include "services/net/client_network.h"
#include "services/telemetry/metrics.h"

namespace postern::auth {
namespace {

constexpr char kByNetwork[] = "postern_auth_login_failures_by_network_total";
constexpr char kByNetworkHelp[] = "Refused credentials by the client's network (/24, IPv6: /64).";
constexpr char kByAccount[] = "postern_auth_login_failures_by_account_total";
constexpr char kByAccountHelp[] = "Refused credentials by the account that exists.";
constexpr char kUnknown[] = "unknown";
constexpr size_t kMaxValues = 50;
// Fifteen scrapes at the usual minute.
constexpr absl::Duration kIdle = absl::Minutes(15);

}  // namespace

LoginFailures::LoginFailures()
    : by_network_(kByNetwork, kByNetworkHelp, "network", kMaxValues, kIdle),
      by_account_(kByAccount, kByAccountHelp, "account", kMaxValues, kIdle),
      unknown_network_(telemetry::GetCounter(kByNetwork, kByNetworkHelp, {{"network", kUnknown}})),
      unknown_account_(telemetry::GetCounter(kByAccount, kByAccountHelp, {{"account", kUnknown}})) {
}

void LoginFailures::Count(absl::string_view client, absl::string_view account, absl::Time now) {
  if (const std::string network = net::NetworkOf(client); network.empty()) {
    unknown_network_.Add();
  } else {
    by_network_.Add(network, now);
  }
  if (account.empty()) {
    unknown_account_.Add();
  } else {
    by_account_.Add(account, now);
  }
}

}  // namespace postern::auth
