#include "auth-svc/rpc/login_failures.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "services/telemetry/metrics.h"

namespace postern::auth {
namespace {

using telemetry::RenderMetrics;

TEST(LoginFailuresTest, CountsNetworksAndAccountsThatAreThere) {
  LoginFailures failures;
  const auto network = [](absl::string_view value, int count) {
    return absl::StrContains(
        RenderMetrics(), absl::StrCat("\npostern_auth_login_failures_by_network_total{network=\"",
                                      value, "\"} ", count, "\n"));
  };
  const auto account = [](absl::string_view value, int count) {
    return absl::StrContains(
        RenderMetrics(), absl::StrCat("\npostern_auth_login_failures_by_account_total{account=\"",
                                      value, "\"} ", count, "\n"));
  };
  for (const char* value : {"unknown", "other"}) {
    EXPECT_TRUE(network(value, 0));
    EXPECT_TRUE(account(value, 0));
  }
  const absl::Time now = absl::UnixEpoch();
  failures.Count("192.0.2.1", "alice@example.test", now);
  failures.Count("192.0.2.2", "", now);
  failures.Count("no address", "alice@example.test", now);
  failures.Count("2001:db8::1", "\"a \\\" b\"@example.test", now);
  EXPECT_TRUE(network("192.0.2.0/24", 2));
  EXPECT_TRUE(network("2001:db8::/64", 1));
  EXPECT_TRUE(network("unknown", 1));
  EXPECT_TRUE(account("alice@example.test", 2));
  EXPECT_TRUE(account("\\\"a \\\\\\\" b\\\"@example.test", 1));
  EXPECT_TRUE(account("unknown", 1));
  for (int i = 0; i < 1000; ++i) {
    failures.Count(absl::StrCat("10.", i / 250, ".", i % 250, ".1"),
                   absl::StrCat("user", i, "@example.test"), now);
  }
  // 50 in all.
  EXPECT_TRUE(network("10.0.47.0/24", 1));
  EXPECT_TRUE(network("other", 952));
  EXPECT_TRUE(account("user47@example.test", 1));
  EXPECT_TRUE(account("other", 952));
}

}  // namespace
}  // namespace postern::auth
