// How every client answers: a callback, run exactly once, on a thread of gRPC's; it must not block.
#ifndef POSTERN_SERVICES_ASYNC_DONE_H_
#define POSTERN_SERVICES_ASYNC_DONE_H_

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

namespace postern::async {

template <typename T>
using Done = absl::AnyInvocable<void(absl::StatusOr<T>)>;

using DoneStatus = absl::AnyInvocable<void(absl::Status)>;

}  // namespace postern::async

#endif  // POSTERN_SERVICES_ASYNC_DONE_H_
