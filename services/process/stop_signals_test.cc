#include "services/process/stop_signals.h"

#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <optional>
#include <thread>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace postern::process {
namespace {

TEST(StopSignalsTest, AreWaitedForAndEndNothing) {
  StopSignals signals;
  kill(getpid(), SIGTERM);
  EXPECT_EQ(signals.Wait(), SIGTERM);
  kill(getpid(), SIGINT);
  EXPECT_EQ(signals.WaitFor(absl::Minutes(1)), SIGINT);
  EXPECT_EQ(signals.WaitFor(absl::ZeroDuration()), std::nullopt);
}

TEST(StopSignalsTest, OfAThreadThatIsStartedLaterToo) {
  const StopSignals signals;
  std::optional<int> signal;
  std::thread thread([&] { signal = signals.WaitFor(absl::Minutes(1)); });
  pthread_kill(thread.native_handle(), SIGTERM);
  thread.join();
  EXPECT_EQ(signal, SIGTERM);
}

TEST(StopSignalsDeathTest, EndTheProcessAgain) {
  EXPECT_EXIT(
      {
        StopSignals signals;
        kill(getpid(), SIGTERM);
        signals.Unblock();
        _exit(0);
      },
      testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace postern::process
