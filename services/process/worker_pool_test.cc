#include "services/process/worker_pool.h"

#include <atomic>
#include <memory>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

namespace postern::process {
namespace {

TEST(WorkerPoolTest, OneThreadKeepsTheOrder) {
  std::vector<int> order;
  {
    WorkerPool pool(1, 100);
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(pool.Submit([&order, i] { order.push_back(i); }));
    }
  }
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(order[i], i);
  }
}

TEST(WorkerPoolTest, RefusesWhatIsOverTheLimit) {
  absl::Notification started;
  absl::Notification release;
  std::atomic<int> ran = 0;
  {
    WorkerPool pool(1, 2);
    ASSERT_TRUE(pool.Submit([&] {
      started.Notify();
      release.WaitForNotification();
    }));
    started.WaitForNotification();
    EXPECT_TRUE(pool.Submit([&] { ++ran; }));
    EXPECT_TRUE(pool.Submit([&] { ++ran; }));
    EXPECT_FALSE(pool.Submit([&] { ran += 100; }));
    release.Notify();
  }
  EXPECT_EQ(ran, 2);
}

TEST(WorkerPoolTest, RunsThreadsAtTheSameTime) {
  absl::Notification first_runs;
  absl::Notification second_runs;
  // Each job waits for the other: with one thread this test would never end.
  WorkerPool pool(2, 2);
  ASSERT_TRUE(pool.Submit([&] {
    first_runs.Notify();
    second_runs.WaitForNotification();
  }));
  ASSERT_TRUE(pool.Submit([&] {
    second_runs.Notify();
    first_runs.WaitForNotification();
  }));
}

TEST(WorkerPoolTest, TakesAMoveOnlyJobAndFreesIt) {
  auto token = std::make_shared<int>(1);
  std::weak_ptr<int> weak = token;
  {
    WorkerPool pool(1, 1);
    absl::Notification ran;
    ASSERT_TRUE(pool.Submit([owned = std::make_unique<std::shared_ptr<int>>(std::move(token)),
                             &ran] { ran.Notify(); }));
    ran.WaitForNotification();
  }
  EXPECT_TRUE(weak.expired());
}

}  // namespace
}  // namespace postern::process
