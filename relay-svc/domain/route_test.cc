#include "relay-svc/domain/route.h"

#include <gtest/gtest.h>

#include <set>

#include "absl/random/random.h"

namespace postern::relay {
namespace {

using Records = std::vector<MxRecord>;

RoutingOptions Options() { return {.hostname = "relay.example.test", .mx_port = 2525}; }

RouteOrFailure Find(absl::StatusOr<Records> answer) {
  absl::BitGen random;
  return RouteByMx(Options(), "remote.test", std::move(answer), random);
}

// The predecessor did not sort by preference.
TEST(RouteTest, PredecessorDefectMxPreferenceNotSorted) {
  for (int i = 0; i < 50; ++i) {
    const RouteOrFailure route = Find(Records{{30, "c.test"}, {10, "a.test"}, {20, "b.test"}});
    ASSERT_TRUE(std::holds_alternative<Route>(route));
    EXPECT_EQ(std::get<Route>(route).hosts,
              (std::vector<std::string>{"a.test", "b.test", "c.test"}));
    EXPECT_EQ(std::get<Route>(route).port, 2525);
  }
}

TEST(RouteTest, EqualPreferencesShareTheLoad) {
  std::set<std::string> first;
  for (int i = 0; i < 200; ++i) {
    const RouteOrFailure route = Find(Records{{10, "a.test"}, {10, "b.test"}, {20, "c.test"}});
    const std::vector<std::string>& hosts = std::get<Route>(route).hosts;
    ASSERT_EQ(hosts.size(), 3u);
    EXPECT_EQ(hosts[2], "c.test");
    first.insert(hosts[0]);
  }
  EXPECT_EQ(first, (std::set<std::string>{"a.test", "b.test"}));
}

TEST(RouteTest, NoMxMeansTheDomainItself) {
  const RouteOrFailure route = Find(Records{});
  EXPECT_EQ(std::get<Route>(route).hosts, std::vector<std::string>{"remote.test"});
}

TEST(RouteTest, OnlyBetterHostsThanOurselves) {
  const RouteOrFailure route =
      Find(Records{{10, "a.test"}, {20, "Relay.Example.Test"}, {20, "b.test"}, {30, "c.test"}});
  EXPECT_EQ(std::get<Route>(route).hosts, std::vector<std::string>{"a.test"});
}

TEST(RouteTest, NullMxAmongOthersIsIgnored) {
  const RouteOrFailure route = Find(Records{{0, ""}, {10, "a.test"}});
  EXPECT_EQ(std::get<Route>(route).hosts, std::vector<std::string>{"a.test"});
}

TEST(RouteTest, Failures) {
  using Kind = DeliveryResult::Kind;
  const struct {
    const char* name;
    absl::StatusOr<Records> answer;
    Kind kind;
    const char* enhanced;
  } cases[] = {
      {"null MX", Records{{0, ""}}, Kind::kPermanent, "5.1.10"},
      {"NXDOMAIN", absl::NotFoundError("x"), Kind::kPermanent, "5.1.2"},
      {"SERVFAIL", absl::UnavailableError("x"), Kind::kTemporary, "4.4.3"},
      {"time-out", absl::DeadlineExceededError("x"), Kind::kTemporary, "4.4.3"},
      {"we are the best", Records{{5, "relay.example.test"}, {10, "a.test"}}, Kind::kPermanent,
       "5.4.6"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const RouteOrFailure route = Find(c.answer);
    ASSERT_TRUE(std::holds_alternative<DeliveryResult>(route));
    EXPECT_EQ(std::get<DeliveryResult>(route).kind, c.kind);
    EXPECT_EQ(std::get<DeliveryResult>(route).enhanced, c.enhanced);
  }
}

TEST(RouteTest, NextHops) {
  RoutingOptions options = Options();
  EXPECT_EQ(FindNextHop(options, "remote.test"), nullptr);
  options.next_hops["remote.test"] = {"10.0.0.1", 2500};
  EXPECT_EQ(FindNextHop(options, "remote.test")->host, "10.0.0.1");
  EXPECT_EQ(FindNextHop(options, "sub.remote.test"), nullptr);
  options.next_hops["*"] = {"smart.test", 25};
  EXPECT_EQ(FindNextHop(options, "sub.remote.test")->host, "smart.test");
  EXPECT_EQ(FindNextHop(options, "remote.test")->host, "10.0.0.1");
}

}  // namespace
}  // namespace postern::relay
