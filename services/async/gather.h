// Several callback-style calls at a time, as one awaitable.
#ifndef POSTERN_SERVICES_ASYNC_GATHER_H_
#define POSTERN_SERVICES_ASYNC_GATHER_H_

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "boost/asio/awaitable.hpp"
#include "services/async/await.h"
#include "services/async/done.h"

namespace postern::async {

// Answers of start(0, done) ... start(count - 1, done) in their order, at most `at_once` calls
// under way: the next ones start when those have all answered.
template <typename T, typename Start>
boost::asio::awaitable<std::vector<absl::StatusOr<T>>> Gather(size_t count, size_t at_once,
                                                              Start start) {
  std::vector<absl::StatusOr<T>> all;
  all.reserve(count);
  for (size_t first = 0; first < count; first += at_once) {
    struct Batch {
      std::vector<absl::StatusOr<T>> answers;
      std::atomic<size_t> missing;
      absl::AnyInvocable<void(absl::Status)> done;
    };
    auto batch = std::make_shared<Batch>();
    const size_t size = std::min(at_once, count - first);
    batch->answers.resize(size, absl::UnknownError("no answer"));
    batch->missing = size;
    (void)co_await async::Await<absl::Status>([&](absl::AnyInvocable<void(absl::Status)> done) {
      batch->done = std::move(done);
      for (size_t i = 0; i < size; ++i) {
        start(first + i, async::Done<T>([batch, i](absl::StatusOr<T> answer) {
                batch->answers[i] = std::move(answer);
                if (batch->missing.fetch_sub(1) == 1) batch->done(absl::OkStatus());
              }));
      }
    });
    for (absl::StatusOr<T>& answer : batch->answers) all.push_back(std::move(answer));
  }
  co_return all;
}

}  // namespace postern::async

#endif  // POSTERN_SERVICES_ASYNC_GATHER_H_
