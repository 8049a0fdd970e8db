#include "services/rpc/retry.h"

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace postern::rpc {
namespace {

TEST(RetryTest, GoesOnUntilPatienceOrTheDeadlineEnds) {
  const absl::Time begun = absl::Now();
  CallContext call{.deadline = begun + absl::Seconds(10), .patience = absl::Seconds(3)};
  EXPECT_EQ(RetryUntil(call, begun), begun + absl::Seconds(3));
  call.deadline = begun + absl::Seconds(1);
  EXPECT_EQ(RetryUntil(call, begun), begun + absl::Seconds(1));
}

// A silent replica is left after 2 s: another one may answer.
TEST(RetryTest, ASilentReplicaIsNoReasonToStop) {
  const absl::Time begun = absl::Now() - absl::Milliseconds(2200);
  const CallContext call{.deadline = begun + absl::Seconds(30)};
  EXPECT_EQ(RetryUntil(call, begun, /*attempt=*/begun), begun + call.patience);
}

// A service waits for its silent database for 3 s.
TEST(RetryTest, WhatTookLongIsNotRepeatedWhileSomebodyWaits) {
  const absl::Time begun = absl::Now() - absl::Seconds(3);
  CallContext call{.deadline = begun + absl::Seconds(30)};
  EXPECT_EQ(RetryUntil(call, begun, /*attempt=*/begun), absl::InfinitePast());
  EXPECT_GT(RetryUntil(call, begun, /*attempt=*/absl::Now()), absl::Now());
  call.patience = absl::InfiniteDuration();
  EXPECT_EQ(RetryUntil(call, begun, /*attempt=*/begun), call.deadline);
}

// Another replica may wait for the same database: together they take no more than a person waits.
TEST(RetryTest, ARepetitionThatSomebodyWaitsForEndsSoon) {
  Repetitions repetitions;
  CallContext call{.deadline = repetitions.begun() + absl::Seconds(30)};
  EXPECT_EQ(repetitions.Begin(call).deadline, call.deadline);
  EXPECT_TRUE(repetitions.Next(call).has_value());
  EXPECT_EQ(repetitions.Begin(call).deadline, repetitions.begun() + absl::Milliseconds(4500));
  call.deadline = repetitions.begun() + absl::Seconds(4);
  EXPECT_EQ(repetitions.Begin(call).deadline, call.deadline);
  call = {.deadline = repetitions.begun() + absl::Seconds(30),
          .patience = absl::InfiniteDuration()};
  EXPECT_EQ(repetitions.Begin(call).deadline, call.deadline);
}

}  // namespace
}  // namespace postern::rpc
