// The signals that end a process when it is ready for it.
#ifndef POSTERN_SERVICES_PROCESS_STOP_SIGNALS_H_
#define POSTERN_SERVICES_PROCESS_STOP_SIGNALS_H_

#include <csignal>
#include <optional>

#include "absl/time/time.h"

namespace postern::process {

// SIGTERM and SIGINT: they end nothing from here on, and are waited for instead. One for a process,
// made before its first thread, since threads inherit what is blocked.
class StopSignals {
 public:
  // Blocks them.
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // For what may be ended at any point: they end the process again.
  void Unblock();

  // The next one. Also one that came before.
  int Wait() const;
  // nullopt: none came within `limit`.
  std::optional<int> WaitFor(absl::Duration limit) const;

 private:
  sigset_t signals_;
};

}  // namespace postern::process

#endif  // POSTERN_SERVICES_PROCESS_STOP_SIGNALS_H_
