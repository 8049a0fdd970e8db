#include "relay-svc/domain/retry_schedule.h"

#include <gtest/gtest.h>

#include "absl/random/random.h"

namespace postern::relay {
namespace {

TEST(RetryScheduleTest, PredecessorsScheduleIsTheDefaultAndTheLastWaitRepeats) {
  absl::BitGen random;
  const RetrySchedule schedule({}, absl::Hours(120));
  const struct {
    int attempts;
    absl::Duration wait;
  } cases[] = {
      {1, absl::Seconds(60)}, {2, absl::Minutes(2)}, {3, absl::Minutes(10)}, {4, absl::Hours(1)},
      {5, absl::Hours(1)},    {6, absl::Hours(1)},   {1000, absl::Hours(1)}, {0, absl::Seconds(10)},
  };
  for (const auto& c : cases) {
    for (int i = 0; i < 100; ++i) {
      const absl::Duration wait = schedule.Wait(c.attempts, random);
      EXPECT_GE(wait, c.wait) << c.attempts;
      EXPECT_LE(wait, c.wait * 1.1) << c.attempts;
    }
  }
}

TEST(RetryScheduleTest, JitterSpreads) {
  absl::BitGen random;
  const RetrySchedule schedule({absl::Seconds(100)}, absl::Hours(1));
  absl::Duration least = absl::InfiniteDuration(), most = absl::ZeroDuration();
  for (int i = 0; i < 1000; ++i) {
    const absl::Duration wait = schedule.Wait(1, random);
    least = std::min(least, wait);
    most = std::max(most, wait);
  }
  EXPECT_GT(most - least, absl::Seconds(5));
}

TEST(RetryScheduleTest, NobodyWaitsLongerAfterNoneThanAfterTheFirst) {
  absl::BitGen random;
  EXPECT_LE(RetrySchedule({absl::Seconds(5)}, absl::Hours(1)).Wait(0, random), absl::Seconds(5.5));
}

TEST(RetryScheduleTest, NoAttemptAfterTheEndOfLife) {
  absl::BitGen random;
  const absl::Time enqueued = absl::FromUnixSeconds(1000000);
  const RetrySchedule schedule({absl::Seconds(100)}, absl::Seconds(250));
  EXPECT_EQ(schedule.NextAttempt(enqueued, enqueued + absl::Seconds(200), 3, random),
            enqueued + absl::Seconds(250));
  EXPECT_EQ(schedule.NextAttempt(enqueued, enqueued + absl::Seconds(300), 3, random),
            enqueued + absl::Seconds(300));
  EXPECT_FALSE(schedule.Expired(enqueued, enqueued + absl::Seconds(249)));
  EXPECT_TRUE(schedule.Expired(enqueued, enqueued + absl::Seconds(250)));
}

}  // namespace
}  // namespace postern::relay
