#include "relay-svc/domain/due_window.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace postern::relay {
namespace {

using Added = DueWindow::Added;

DueWindow::Limits Small() {
  return {.jobs = 10,
          .jobs_per_destination = 4,
          .running_remote = 3,
          .running_per_destination = 2,
          .running_local = 1};
}

TEST(DueWindowTest, AJobIsKnownUntilItIsFinished) {
  DueWindow window(Small());
  const JobKey key{"1", "a.test"};
  EXPECT_EQ(window.Add(key), Added::kAdded);
  EXPECT_EQ(window.Add(key), Added::kKnown);
  ASSERT_EQ(window.Start(), key);
  EXPECT_EQ(window.Start(), std::nullopt);
  EXPECT_EQ(window.Add(key), Added::kKnown);
  window.Finish(key);
  EXPECT_EQ(window.size(), 0u);
  EXPECT_EQ(window.Add(key), Added::kAdded);
}

TEST(DueWindowTest, LimitsPerDestinationAndInAll) {
  DueWindow window(Small());
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(window.Add({absl::StrCat("a", i), "a.test"}), Added::kAdded);
    EXPECT_EQ(window.Add({absl::StrCat("b", i), "b.test"}), Added::kAdded);
  }
  // In turn, never more than two for one destination, three in all.
  EXPECT_EQ(window.Start()->destination, "a.test");
  EXPECT_EQ(window.Start()->destination, "b.test");
  EXPECT_EQ(window.Start()->destination, "a.test");
  EXPECT_EQ(window.Start(), std::nullopt);
  // Local jobs have their own limit.
  EXPECT_EQ(window.Add({"l0", ""}), Added::kAdded);
  EXPECT_EQ(window.Add({"l1", ""}), Added::kAdded);
  EXPECT_EQ(window.Start()->queue_id, "l0");
  EXPECT_EQ(window.Start(), std::nullopt);
  EXPECT_EQ(window.running(), 4);
  window.Finish({"b0", "b.test"});
  // a.test has its two already.
  EXPECT_EQ(window.Start()->queue_id, "b1");
  window.Finish({"l0", ""});
  EXPECT_EQ(window.Start()->queue_id, "l1");
}

TEST(DueWindowTest, OneDestinationDoesNotFillTheWindow) {
  DueWindow window(Small());
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(window.Add({absl::StrCat(i), "dead.test"}), Added::kAdded);
  }
  EXPECT_EQ(window.Add({"4", "dead.test"}), Added::kFull);
  EXPECT_FALSE(window.full());
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(window.Add({absl::StrCat(i), absl::StrCat(i, ".test")}), Added::kAdded);
  }
  EXPECT_TRUE(window.full());
  EXPECT_EQ(window.Add({"x", "x.test"}), Added::kFull);
}

TEST(DueWindowTest, RunsDry) {
  DueWindow window(Small());
  for (int round = 0; round < 100; ++round) {
    for (int i = 0; i < 10; ++i) {
      (void)window.Add({absl::StrCat(round, "-", i), i % 3 == 0 ? "" : absl::StrCat(i % 4)});
    }
    while (std::optional<JobKey> key = window.Start()) window.Finish(*key);
    EXPECT_EQ(window.size(), 0u);
    EXPECT_EQ(window.running(), 0);
  }
}

}  // namespace
}  // namespace postern::relay
