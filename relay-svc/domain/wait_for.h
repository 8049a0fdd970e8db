// Tests only: waits for a callback-style call.
#ifndef POSTERN_RELAY_SVC_DOMAIN_WAIT_FOR_H_
#define POSTERN_RELAY_SVC_DOMAIN_WAIT_FOR_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "services/async/done.h"

namespace postern::relay {

// WaitFor<DuePage>([&](auto done) { spool.FindDue(..., std::move(done)); })
template <typename T, typename Start>
absl::StatusOr<T> WaitFor(Start start) {
  absl::Notification came;
  absl::StatusOr<T> result;
  start(async::Done<T>([&](absl::StatusOr<T> answer) {
    result = std::move(answer);
    came.Notify();
  }));
  came.WaitForNotification();
  return result;
}

template <typename Start>
absl::Status WaitForStatus(Start start) {
  absl::Notification came;
  absl::Status result;
  start(async::DoneStatus([&](absl::Status answer) {
    result = std::move(answer);
    came.Notify();
  }));
  came.WaitForNotification();
  return result;
}

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_WAIT_FOR_H_
