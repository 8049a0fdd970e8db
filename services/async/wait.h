// Tests only: waits for a callback-style call.
#ifndef POSTERN_SERVICES_ASYNC_WAIT_H_
#define POSTERN_SERVICES_ASYNC_WAIT_H_

#include <memory>
#include <optional>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/synchronization/notification.h"

namespace postern::async {

// Wait<absl::StatusOr<DuePage>>([&](auto done) { spool.FindDue(..., std::move(done)); })
template <typename Result, typename Start>
Result Wait(Start start) {
  // Outlives the call that answers, which may still be in Notify().
  struct Answer {
    absl::Notification came;
    std::optional<Result> result;
  };
  auto answer = std::make_shared<Answer>();
  start(absl::AnyInvocable<void(Result)>([answer](Result result) {
    answer->result.emplace(std::move(result));
    answer->came.Notify();
  }));
  answer->came.WaitForNotification();
  return *std::move(answer->result);
}

}  // namespace postern::async

#endif  // POSTERN_SERVICES_ASYNC_WAIT_H_
