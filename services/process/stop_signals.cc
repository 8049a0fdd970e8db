#include "services/process/stop_signals.h"

#include <pthread.h>
#include <time.h>

#include <cerrno>

namespace postern::process {

StopSignals::StopSignals() {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGTERM);
  sigaddset(&signals_, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
}

void StopSignals::Unblock() { pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr); }

int StopSignals::Wait() const {
  int signal = 0;
  sigwait(&signals_, &signal);
  return signal;
}

std::optional<int> StopSignals::WaitFor(absl::Duration limit) const {
  const timespec timeout = absl::ToTimespec(limit);
  // A debugger's or a profiler's signal is no reason to stop.
  int signal;
  do {
    signal = sigtimedwait(&signals_, nullptr, &timeout);
  } while (signal < 0 && errno == EINTR);
  if (signal < 0) return std::nullopt;
  return signal;
}

}  // namespace postern::process
