// A client's callback (services/clients/done.h) as an awaitable: the one bridge between gRPC's
// threads and the loops.
#ifndef POSTERN_SERVICES_ASYNC_AWAIT_H_
#define POSTERN_SERVICES_ASYNC_AWAIT_H_

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "boost/asio/associated_executor.hpp"
#include "boost/asio/async_result.hpp"
#include "boost/asio/awaitable.hpp"
#include "boost/asio/execution/outstanding_work.hpp"
#include "boost/asio/post.hpp"
#include "boost/asio/prefer.hpp"
#include "boost/asio/steady_timer.hpp"
#include "boost/asio/this_coro.hpp"
#include "boost/asio/use_awaitable.hpp"

namespace postern::async {

namespace internal {

// A call that is out: its coroutine, and whatever of the answer and the end of `start` has come.
// Shared by the two; the later one of them resumes the coroutine.
template <typename Handler, typename Result>
class Call {
 public:
  explicit Call(Handler handler)
      : handler_(std::move(handler)),
        // Holds the loop's run() while the call is out.
        work_(boost::asio::prefer(boost::asio::get_associated_executor(handler_),
                                  boost::asio::execution::outstanding_work.tracked)) {}

  void Answer(Result result) {
    result_.emplace(std::move(result));
    Half();
  }

  void Half() {
    if (missing_.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
    // The handler is kept by no call any more, however long `done` itself is.
    const auto loop = std::move(work_);
    boost::asio::post(loop,
                      [handler = std::move(handler_), result = *std::move(result_)]() mutable {
                        std::move(handler)(std::move(result));
                      });
  }

 private:
  using Executor = boost::asio::associated_executor_t<Handler>;
  using Work = std::decay_t<decltype(boost::asio::prefer(
      std::declval<Executor>(), boost::asio::execution::outstanding_work.tracked))>;

  Handler handler_;
  Work work_;
  std::optional<Result> result_;
  std::atomic<int> missing_{2};
};

}  // namespace internal

//   co_await Await<Result>(
//       [&](absl::AnyInvocable<void(Result)> done) { client->Call(..., std::move(done)); })
//
// Result is absl::Status or absl::StatusOr<T>. `start` runs at once on the loop; `done` may be
// called from any thread, once. The coroutine goes on on its own executor, and not before `start`
// has returned: however many threads that has, `start` may use the coroutine's frame to its end.
template <typename Result, typename Start>
boost::asio::awaitable<Result> Await(Start start) {
  co_return co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>,
                                                 void(Result)>(
      [](auto handler, Start begin) {
        auto call = std::make_shared<internal::Call<decltype(handler), Result>>(std::move(handler));
        begin(absl::AnyInvocable<void(Result)>(
            [call](Result result) { call->Answer(std::move(result)); }));
        call->Half();
      },
      boost::asio::use_awaitable, std::move(start));
}

// The same with an end: at `deadline`, `give_up` runs on the loop; it must make `done` be called
// (destroying a stream does). Once it has run the result is DEADLINE_EXCEEDED, also when a better
// answer was on its way: what that spoke of is gone. For an executor of one thread.
template <typename Result, typename Start, typename GiveUp>
boost::asio::awaitable<Result> AwaitUntil(std::chrono::steady_clock::time_point deadline,
                                          Start start, GiveUp give_up) {
  enum class State { kWaiting, kAnswered, kGivenUp };
  // The timer's handler may be on its way when the answer comes, and the other way round.
  const auto state = std::make_shared<State>(State::kWaiting);
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, deadline);
  timer.async_wait([state, give_up = std::move(give_up)](boost::system::error_code error) mutable {
    if (error || *state != State::kWaiting) return;
    *state = State::kGivenUp;
    give_up();
  });
  Result result = co_await Await<Result>(std::move(start));
  if (*state == State::kGivenUp) co_return absl::DeadlineExceededError("no answer in time");
  *state = State::kAnswered;
  co_return result;
}

}  // namespace postern::async

#endif  // POSTERN_SERVICES_ASYNC_AWAIT_H_
