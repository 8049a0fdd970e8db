#include "services/limits/limits.h"

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/async/wait.h"
#include "services/limits/local_limits.h"
#include "services/limits/redis_limits.h"
#include "services/storage/redis/testing/test_server.h"

namespace postern::limits {
namespace {

using storage::redis::Reply;
using storage::redis::TestServer;

constexpr absl::Duration kPatience = absl::Seconds(60);

Verdict Take(Limits& limits, const Charge& charge) {
  return async::Wait<Verdict>([&](Answer<Verdict> done) { limits.Take(charge, std::move(done)); });
}

absl::Duration Greylist(Limits& limits, const std::string& key, const Greylisting& greylisting) {
  return async::Wait<absl::Duration>(
      [&](Answer<absl::Duration> done) { limits.Greylist(key, greylisting, std::move(done)); });
}

bool IsRemembered(Limits& limits, const std::string& key) {
  return async::Wait<bool>([&](Answer<bool> done) { limits.IsRemembered(key, std::move(done)); });
}

// A time that only the test moves on.
class TestTime {
 public:
  process::Clock clock() {
    return [now = now_] { return *now; };
  }
  void Pass(absl::Duration time) { *now_ += time; }

 private:
  const std::shared_ptr<absl::Time> now_ =
      std::make_shared<absl::Time>(absl::FromUnixSeconds(1700000000));
};

std::unique_ptr<RedisLimits> InRedis(const TestServer& server, process::Clock clock = nullptr) {
  config::v1::Redis config = server.Config();
  config.set_timeout_milliseconds(1000);
  absl::StatusOr<std::unique_ptr<storage::redis::Client>> client =
      storage::redis::Client::Open(config);
  EXPECT_TRUE(client.ok()) << client.status();
  const absl::Time deadline = absl::Now() + kPatience;
  while (!(*client)->Ready().ok() && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_TRUE((*client)->Ready().ok()) << (*client)->Ready();
  return std::make_unique<RedisLimits>(*std::move(client), "postern", std::move(clock));
}

// The same suite for both.
class LimitsTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (absl::string_view(GetParam()) == "local") {
      limits_ = std::make_unique<LocalLimits>(time_.clock());
      return;
    }
    server_ = std::make_unique<TestServer>();
    limits_ = InRedis(*server_, time_.clock());
  }

  TestTime time_;
  std::unique_ptr<TestServer> server_;
  std::unique_ptr<Limits> limits_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, LimitsTest, testing::Values("local", "redis"),
                         [](const auto& info) { return std::string(info.param); });

constexpr Rate kThreeAMinute = {3, absl::Minutes(1)};

TEST_P(LimitsTest, ABurstAndThenTheRate) {
  const Charge one = {"k", kThreeAMinute};
  for (const int64_t left : {2, 1, 0}) {
    EXPECT_EQ(Take(*limits_, one),
              (Verdict{true, left, left > 0 ? absl::ZeroDuration() : absl::Seconds(20)}));
  }
  EXPECT_EQ(Take(*limits_, one), (Verdict{false, 0, absl::Seconds(20)}));
  // What was refused costs nothing.
  time_.Pass(absl::Seconds(19));
  EXPECT_EQ(Take(*limits_, one), (Verdict{false, 0, absl::Seconds(1)}));
  time_.Pass(absl::Seconds(1));
  EXPECT_EQ(Take(*limits_, one), (Verdict{true, 0, absl::Seconds(20)}));
  EXPECT_TRUE(Take(*limits_, {"another", kThreeAMinute}).allowed);
  time_.Pass(absl::Minutes(2));
  EXPECT_EQ(Take(*limits_, one).left, 2);
}

TEST_P(LimitsTest, SeveralAreAllowedTogetherOrNotAtAll) {
  EXPECT_EQ(Take(*limits_, {"k", kThreeAMinute, 2}).left, 1);
  EXPECT_FALSE(Take(*limits_, {"k", kThreeAMinute, 2}).allowed);
  EXPECT_TRUE(Take(*limits_, {"k", kThreeAMinute, 1}).allowed);
  EXPECT_FALSE(Take(*limits_, {"other", kThreeAMinute, 4}).allowed);
  EXPECT_TRUE(Take(*limits_, {"other", kThreeAMinute, 3}).allowed);
}

TEST_P(LimitsTest, AskingCostsNothing) {
  const Charge ask = {"k", kThreeAMinute, 0};
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Take(*limits_, ask), (Verdict{true, 3}));
  EXPECT_TRUE(Take(*limits_, {"k", kThreeAMinute, 3}).allowed);
  EXPECT_EQ(Take(*limits_, ask), (Verdict{false, 0, absl::Seconds(20)}));
}

TEST_P(LimitsTest, WhatIsGivenBackIsThereAgain) {
  EXPECT_TRUE(Take(*limits_, {"k", kThreeAMinute, 3}).allowed);
  EXPECT_EQ(Take(*limits_, {"k", kThreeAMinute, -1}).left, 1);
  EXPECT_EQ(Take(*limits_, {"k", kThreeAMinute, -5}).left, 3);
  EXPECT_EQ(Take(*limits_, {"k", kThreeAMinute, 0}).left, 3);
}

TEST_P(LimitsTest, WhatHasHappenedIsChargedUpToTwoWindows) {
  EXPECT_EQ(Take(*limits_, {"k", kThreeAMinute, 4, true}), (Verdict{false, 0, absl::Seconds(40)}));
  EXPECT_EQ(Take(*limits_, {"k", kThreeAMinute, int64_t{1} << 60, true}),
            (Verdict{false, 0, absl::Seconds(80)}));
  EXPECT_EQ(Take(*limits_, {"k", kThreeAMinute, 0}), (Verdict{false, 0, absl::Seconds(80)}));
  time_.Pass(absl::Seconds(80));
  EXPECT_TRUE(Take(*limits_, {"k", kThreeAMinute}).allowed);
}

TEST_P(LimitsTest, AGreylistedClientPassesWhenItComesAgain) {
  constexpr Greylisting kGreylisting = {absl::Minutes(5), absl::Hours(24), absl::Hours(24 * 30)};
  EXPECT_EQ(Greylist(*limits_, "k", kGreylisting), absl::Minutes(5));
  time_.Pass(absl::Minutes(2));
  EXPECT_EQ(Greylist(*limits_, "k", kGreylisting), absl::Minutes(3));
  EXPECT_EQ(Greylist(*limits_, "other", kGreylisting), absl::Minutes(5));
  time_.Pass(absl::Minutes(3));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Greylist(*limits_, "k", kGreylisting), absl::ZeroDuration());
    time_.Pass(absl::Hours(1));
  }
}

TEST_P(LimitsTest, WhatIsRememberedIsKnown) {
  EXPECT_FALSE(IsRemembered(*limits_, "k"));
  limits_->Remember("k", absl::Hours(1));
  EXPECT_TRUE(IsRemembered(*limits_, "k"));
  EXPECT_FALSE(IsRemembered(*limits_, "other"));
}

// Clients choose parts of a key.
TEST_P(LimitsTest, AnyOctetsAreAKey) {
  const std::string awkward[] = {std::string("\0\r\n{", 4), std::string(100000, 'x'), ""};
  for (const std::string& key : awkward) {
    EXPECT_EQ(Take(*limits_, {key, kThreeAMinute, 3}).left, 0);
    EXPECT_FALSE(Take(*limits_, {key, kThreeAMinute}).allowed);
  }
}

TEST(LimitsOfBothTest, TheSameTraceHasTheSameAnswers) {
  TestServer server;
  TestTime time;
  LocalLimits local(time.clock());
  const std::unique_ptr<RedisLimits> redis = InRedis(server, time.clock());
  std::minstd_rand random(7);
  const auto any = [&](int64_t end) {
    return static_cast<int64_t>(std::uniform_int_distribution<int64_t>(0, end - 1)(random));
  };
  constexpr Rate kRates[] = {{1, absl::Hours(24)},      {3, absl::Minutes(1)},
                             {7, absl::Seconds(1)},     {1000, absl::Hours(1)},
                             {100000, absl::Hours(24)}, {5000000, absl::Seconds(1)}};
  constexpr Greylisting kGreylisting = {absl::Minutes(5), absl::Hours(24), absl::Hours(24 * 30)};
  for (int step = 0; step < 3000; ++step) {
    const int64_t which = any(std::size(kRates));
    Charge charge = {absl::StrCat("rate:", which), kRates[which]};
    charge.cost = any(4) == 0 ? any(2 * charge.rate.count) - charge.rate.count : any(3);
    charge.unconditional = any(5) == 0;
    ASSERT_EQ(Take(*redis, charge), Take(local, charge))
        << "step " << step << " rate " << which << " cost " << charge.cost;
    if (any(10) == 0) {
      const std::string key = absl::StrCat("greylist:", any(20));
      ASSERT_EQ(Greylist(*redis, key, kGreylisting), Greylist(local, key, kGreylisting));
    }
    time.Pass(absl::Microseconds(any(2) == 0 ? any(100) : any(100000000)));
  }
}

TEST(LocalLimitsTest, ForgetsWhatNobodyAsksFor) {
  TestTime time;
  LocalLimits limits(time.clock(), /*max_keys=*/100);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(Take(limits, {absl::StrCat(i), kThreeAMinute, 1}).allowed);
    Take(limits, {"asked for", kThreeAMinute, 3, true});
    EXPECT_LE(limits.size(), 100u);
  }
  EXPECT_FALSE(Take(limits, {"asked for", kThreeAMinute}).allowed);
}

TEST(RedisLimitsTest, EveryKeyHasThePrefixAndALifetime) {
  TestServer server;
  const std::unique_ptr<RedisLimits> limits = InRedis(server);
  EXPECT_TRUE(Take(*limits, {"rate", kThreeAMinute}).allowed);
  EXPECT_GT(Greylist(*limits, "grey", {absl::Minutes(5), absl::Hours(24), absl::Hours(48)}),
            absl::ZeroDuration());
  limits->Remember("known", absl::Hours(1));
  EXPECT_TRUE(IsRemembered(*limits, "known"));
  const Reply keys = server.Do({"KEYS", "*"});
  EXPECT_EQ(keys.elements.size(), 3u);
  for (const Reply& key : keys.elements) {
    EXPECT_TRUE(absl::StartsWith(key.text, "postern:")) << key.text;
    EXPECT_GT(server.Do({"PTTL", key.text}).integer, 0) << key.text;
  }
}

TEST(RedisLimitsTest, ReplicasCountTogether) {
  TestServer server;
  const std::unique_ptr<RedisLimits> first = InRedis(server);
  const std::unique_ptr<RedisLimits> second = InRedis(server);
  const Charge one = {"k", {4, absl::Hours(24)}};
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(Take(*first, one).allowed);
    EXPECT_TRUE(Take(*second, one).allowed);
  }
  EXPECT_FALSE(Take(*first, one).allowed);
  EXPECT_FALSE(Take(*second, one).allowed);
  first->Remember("known", absl::Hours(1));
  EXPECT_TRUE(IsRemembered(*first, "known"));
  EXPECT_TRUE(IsRemembered(*second, "known"));
}

TEST(RedisLimitsTest, WithoutRedisEachCountsForItself) {
  TestServer server;
  const std::unique_ptr<RedisLimits> limits = InRedis(server);
  const Charge one = {"k", {2, absl::Hours(24)}};
  limits->Remember("known", absl::Hours(1));
  EXPECT_TRUE(Take(*limits, one).allowed);
  server.Stop();
  const absl::Time start = absl::Now();
  EXPECT_TRUE(Take(*limits, one).allowed);
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  EXPECT_TRUE(Take(*limits, one).allowed);
  EXPECT_FALSE(Take(*limits, one).allowed);
  EXPECT_TRUE(IsRemembered(*limits, "known"));
  EXPECT_GT(Greylist(*limits, "grey", {absl::Minutes(5), absl::Hours(24), absl::Hours(48)}),
            absl::ZeroDuration());
  server.Continue();
  const absl::Time deadline = absl::Now() + kPatience;
  while (!limits->client().Ready().ok() && absl::Now() < deadline) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  // What was counted in it before, and not what was counted meanwhile. One may have come through
  // before it stopped.
  EXPECT_LE(Take(*limits, {"k", {2, absl::Hours(24)}, 0}).left, 1);
  // Redis may lose everything, and we know.
  EXPECT_EQ(server.Do({"FLUSHALL"}).text, "OK");
  EXPECT_TRUE(IsRemembered(*limits, "known"));
}

}  // namespace
}  // namespace postern::limits
