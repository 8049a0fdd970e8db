#include "auth-svc/domain/login_throttle.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "services/limits/local_limits.h"

namespace postern::auth {
namespace {

using Outcome = LoginThrottle::Outcome;

constexpr char kAlice[] = "alice@example.test";
constexpr char kHome[] = "192.0.2.0/24";

class LoginThrottleTest : public testing::Test {
 protected:
  LoginThrottle::Attempt Admit(const std::string& account, const std::string& network) {
    LoginThrottle::Attempt attempt;
    throttle_.Admit(account, network,
                    [&](LoginThrottle::Attempt answer) { attempt = std::move(answer); });
    return attempt;
  }
  // Whether it was looked at.
  bool Try(const std::string& account, const std::string& network, Outcome outcome) {
    const LoginThrottle::Attempt attempt = Admit(account, network);
    if (attempt.admitted) throttle_.Settle(attempt, outcome);
    return attempt.admitted;
  }
  // How many of `count` wrong passwords are looked at.
  int Guess(int count, const std::string& account, const std::string& network) {
    int looked_at = 0;
    for (int i = 0; i < count; ++i) looked_at += Try(account, network, Outcome::kWrong) ? 1 : 0;
    return looked_at;
  }

  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  limits::LocalLimits limits_{[this] { return now_; }};
  LoginThrottle throttle_{{.network = {10, absl::Minutes(10)}, .account = {4, absl::Minutes(10)}},
                          &limits_};
};

TEST_F(LoginThrottleTest, ANetworkGuessesAtManyAccounts) {
  int looked_at = 0;
  for (int i = 0; i < 100; ++i) looked_at += Guess(1, absl::StrCat("user", i, "@x"), kHome);
  EXPECT_EQ(looked_at, 10);
  EXPECT_FALSE(Try("another@x", kHome, Outcome::kAccepted));
  EXPECT_TRUE(Try("another@x", "198.51.100.0/24", Outcome::kAccepted));
  now_ += absl::Minutes(1);
  EXPECT_EQ(Guess(10, "another@x", kHome), 1);
}

TEST_F(LoginThrottleTest, ManyNetworksGuessAtAnAccountAndItsOwnerStillGetsIn) {
  EXPECT_TRUE(Try(kAlice, kHome, Outcome::kAccepted));
  int looked_at = 0;
  for (int i = 0; i < 1000; ++i) looked_at += Guess(2, kAlice, absl::StrCat("net", i));
  EXPECT_EQ(looked_at, 4);
  EXPECT_FALSE(Try(kAlice, "198.51.100.0/24", Outcome::kAccepted));
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(Try(kAlice, kHome, Outcome::kAccepted));
  EXPECT_TRUE(Try("bob@example.test", "198.51.100.0/24", Outcome::kAccepted));
}

// Somebody else in the owner's network: neither locks the owner out for long, nor is free to guess.
TEST_F(LoginThrottleTest, AnAccountsOwnNetworkHasALimitToo) {
  EXPECT_TRUE(Try(kAlice, kHome, Outcome::kAccepted));
  // The network's limit is used up, and the owner does not mind.
  EXPECT_EQ(Guess(20, "nobody@x", kHome), 4);
  EXPECT_EQ(Guess(20, "somebody@x", kHome), 4);
  EXPECT_EQ(Guess(20, "anybody@x", kHome), 2);
  EXPECT_TRUE(Try(kAlice, kHome, Outcome::kAccepted));
  EXPECT_EQ(Guess(100, kAlice, kHome), 4);
  const LoginThrottle::Attempt refused = Admit(kAlice, kHome);
  EXPECT_FALSE(refused.admitted);
  EXPECT_EQ(refused.wait, absl::Seconds(150));
  now_ += refused.wait;
  EXPECT_TRUE(Try(kAlice, kHome, Outcome::kAccepted));
}

// A thousand at the same time are no more than one after the other.
TEST_F(LoginThrottleTest, AttemptsCountFromTheirStart) {
  int admitted = 0;
  for (int i = 0; i < 1000; ++i) admitted += Admit(kAlice, absl::StrCat("net", i)).admitted ? 1 : 0;
  EXPECT_EQ(admitted, 4);
}

TEST_F(LoginThrottleTest, WhatWasRightOrNotLookedAtCostsNothing) {
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(Try(kAlice, absl::StrCat("net", i), Outcome::kNotLookedAt));
    EXPECT_TRUE(Try(kAlice, absl::StrCat("net", i), Outcome::kAccepted));
    EXPECT_TRUE(Try(absl::StrCat("user", i, "@x"), kHome, Outcome::kAccepted));
  }
}

TEST_F(LoginThrottleTest, WhatIsNoAccountCountsForItsNetworkAlone) {
  EXPECT_EQ(Guess(100, "", kHome), 10);
  EXPECT_EQ(Guess(5, "", "198.51.100.0/24"), 5);
}

TEST_F(LoginThrottleTest, ANetworkIsForgottenInTheEnd) {
  EXPECT_TRUE(Try(kAlice, kHome, Outcome::kAccepted));
  EXPECT_TRUE(Admit(kAlice, kHome).known);
  now_ += absl::Hours(24 * 30);
  EXPECT_FALSE(Admit(kAlice, kHome).known);
  EXPECT_TRUE(Try(kAlice, kHome, Outcome::kAccepted));
  EXPECT_TRUE(Admit(kAlice, kHome).known);
}

TEST_F(LoginThrottleTest, ACountOfNoneIsNoLimit) {
  LoginThrottle open({.network = {0, absl::Minutes(10)}, .account = {0, absl::Minutes(10)}},
                     &limits_);
  for (int i = 0; i < 1000; ++i) {
    open.Admit(kAlice, kHome, [&](LoginThrottle::Attempt attempt) {
      EXPECT_TRUE(attempt.admitted);
      open.Settle(attempt, Outcome::kWrong);
    });
  }
}

}  // namespace
}  // namespace postern::auth
