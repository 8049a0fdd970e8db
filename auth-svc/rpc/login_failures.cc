#include "auth-svc/rpc/login_failures.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
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

std::string Text(int family, const void* address, int bits) {
  char text[INET6_ADDRSTRLEN];
  // Only a buffer that is too small fails.
  return inet_ntop(family, address, text, sizeof(text)) == nullptr ? ""
                                                                   : absl::StrCat(text, "/", bits);
}

std::string V4Network(const unsigned char* octets) {
  const unsigned char network[4] = {octets[0], octets[1], octets[2], 0};
  return Text(AF_INET, network, 24);
}

}  // namespace

std::string NetworkOf(absl::string_view client) {
  // A link-local address has its interface behind it.
  const std::string address(client.substr(0, client.find('%')));
  in_addr v4;
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) {
    return V4Network(reinterpret_cast<const unsigned char*>(&v4));
  }
  in6_addr v6;
  if (inet_pton(AF_INET6, address.c_str(), &v6) != 1) return "";
  if (IN6_IS_ADDR_V4MAPPED(&v6)) return V4Network(v6.s6_addr + 12);
  std::fill(v6.s6_addr + 8, v6.s6_addr + 16, 0);
  return Text(AF_INET6, &v6, 64);
}

LoginFailures::LoginFailures()
    : by_network_(kByNetwork, kByNetworkHelp, "network", kMaxValues, kIdle),
      by_account_(kByAccount, kByAccountHelp, "account", kMaxValues, kIdle),
      unknown_network_(telemetry::GetCounter(kByNetwork, kByNetworkHelp, {{"network", kUnknown}})),
      unknown_account_(telemetry::GetCounter(kByAccount, kByAccountHelp, {{"account", kUnknown}})) {
}

void LoginFailures::Count(absl::string_view client, absl::string_view account, absl::Time now) {
  if (const std::string network = NetworkOf(client); network.empty()) {
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
