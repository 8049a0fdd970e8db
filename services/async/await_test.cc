#include "services/async/await.h"

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "boost/asio/co_spawn.hpp"
#include "boost/asio/io_context.hpp"
#include "boost/asio/post.hpp"
#include "boost/asio/thread_pool.hpp"
#include "boost/asio/use_future.hpp"
#include "gtest/gtest.h"
#include "services/async/gather.h"

namespace postern::async {
namespace {

using boost::asio::awaitable;
using DoneInt = absl::AnyInvocable<void(absl::StatusOr<int>)>;

// An answer from another thread, while `start` still runs, must not resume the coroutine: its frame
// would be gone under `start`.
TEST(Await, TheCoroutineWaitsForStartToReturn) {
  boost::asio::thread_pool pool(2);
  bool resumed = false;
  bool resumed_under_start = false;
  auto coroutine = [](bool* resumed, bool* resumed_under_start) -> awaitable<void> {
    (void)co_await Await<absl::StatusOr<int>>([&](DoneInt done) {
      std::thread([&] { done(1); }).join();
      // The other thread of the pool has nothing to do but to resume it.
      for (int i = 0; i < 1000 && !*resumed; ++i) std::this_thread::yield();
      *resumed_under_start = *resumed;
    });
    *resumed = true;
  };
  boost::asio::co_spawn(pool, coroutine(&resumed, &resumed_under_start), boost::asio::use_future)
      .get();
  EXPECT_TRUE(resumed);
  EXPECT_FALSE(resumed_under_start);
}

TEST(Await, AnAnswerFromStartItself) {
  boost::asio::thread_pool pool(2);
  auto coroutine = []() -> awaitable<absl::StatusOr<int>> {
    co_return co_await Await<absl::StatusOr<int>>([](DoneInt done) { done(7); });
  };
  EXPECT_EQ(*boost::asio::co_spawn(pool, coroutine(), boost::asio::use_future).get(), 7);
}

// Many at a time, answered by other threads while the next ones are started: what a relay does with
// the recipients of a message.
TEST(Gather, OnAPoolOfSeveralThreads) {
  boost::asio::thread_pool pool(4);
  boost::asio::thread_pool answering(4);
  auto coroutine = [](boost::asio::thread_pool* answering) -> awaitable<int> {
    // In the frame, and used by each start.
    const std::vector<int> numbers{1, 2, 3, 4, 5};
    const std::vector<absl::StatusOr<int>> all =
        co_await Gather<int>(numbers.size(), 2, [&](size_t i, Done<int> done) {
          boost::asio::post(*answering, [done = std::move(done), number = numbers[i]]() mutable {
            done(number);
          });
        });
    int sum = 0;
    for (const absl::StatusOr<int>& one : all) sum += *one;
    co_return sum;
  };
  std::vector<std::future<int>> sums;
  for (int i = 0; i < 2000; ++i) {
    sums.push_back(boost::asio::co_spawn(pool, coroutine(&answering), boost::asio::use_future));
  }
  for (std::future<int>& sum : sums) EXPECT_EQ(sum.get(), 15);
}

// A stream, an answer on its way, and a deadline that has passed when both are looked at.
struct Race {
  boost::asio::io_context io{1};
  std::unique_ptr<std::string> stream = std::make_unique<std::string>("open");
  DoneInt done;
};

TEST(AwaitUntil, AnAnswerThatGiveUpOvertookIsNone) {
  Race race;
  auto coroutine = [](Race* race) -> awaitable<absl::StatusOr<int>> {
    co_return co_await AwaitUntil<absl::StatusOr<int>>(
        std::chrono::steady_clock::now() - std::chrono::seconds(1),
        [race](DoneInt done) { race->done = std::move(done); },
        [race] {
          // Posted to the loop, where this runs: the coroutine has not seen it.
          race->done(5);
          race->stream = nullptr;
        });
  };
  auto result = boost::asio::co_spawn(race.io, coroutine(&race), boost::asio::use_future);
  race.io.run();
  EXPECT_TRUE(absl::IsDeadlineExceeded(result.get().status()));
}

TEST(AwaitUntil, GiveUpThatOvertookNoAnswer) {
  Race race;
  auto coroutine = [](Race* race) -> awaitable<absl::StatusOr<int>> {
    co_return co_await AwaitUntil<absl::StatusOr<int>>(
        std::chrono::steady_clock::now() - std::chrono::seconds(1),
        [race](DoneInt done) { race->done = std::move(done); },
        [race] {
          race->stream = nullptr;
          race->done(absl::CancelledError("destroyed"));
        });
  };
  auto result = boost::asio::co_spawn(race.io, coroutine(&race), boost::asio::use_future);
  race.io.run();
  EXPECT_TRUE(absl::IsDeadlineExceeded(result.get().status()));
}

TEST(AwaitUntil, AnAnswerThatOvertookGiveUpKeepsItsStream) {
  Race race;
  auto coroutine = [](Race* race) -> awaitable<absl::StatusOr<int>> {
    co_return co_await AwaitUntil<absl::StatusOr<int>>(
        std::chrono::steady_clock::now() - std::chrono::seconds(1),
        // Stands in the loop's queue before the timer is looked at.
        [](DoneInt done) { done(5); }, [race] { race->stream = nullptr; });
  };
  auto result = boost::asio::co_spawn(race.io, coroutine(&race), boost::asio::use_future);
  race.io.run();
  EXPECT_EQ(*result.get(), 5);
  EXPECT_NE(race.stream, nullptr);
}

}  // namespace
}  // namespace postern::async
