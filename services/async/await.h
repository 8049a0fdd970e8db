// A client's callback (services/clients/done.h) as an awaitable: the one bridge between gRPC's
// threads and the loops.
#ifndef POSTERN_SERVICES_ASYNC_AWAIT_H_
#define POSTERN_SERVICES_ASYNC_AWAIT_H_

#include <chrono>
#include <memory>
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

//   co_await Await<Result>(
//       [&](absl::AnyInvocable<void(Result)> done) { client->Call(..., std::move(done)); })
//
// Result is absl::Status or absl::StatusOr<T>. `start` runs at once on the loop; `done` may be
// called from any thread, once; the coroutine goes on on its own loop.
template <typename Result, typename Start>
boost::asio::awaitable<Result> Await(Start start) {
  co_return co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>,
                                                 void(Result)>(
      [](auto handler, Start begin) {
        auto executor = boost::asio::get_associated_executor(handler);
        // Holds the loop's run() while the call is out.
        auto work = boost::asio::prefer(executor, boost::asio::execution::outstanding_work.tracked);
        begin(absl::AnyInvocable<void(Result)>(
            [handler = std::move(handler), work = std::move(work)](Result result) mutable {
              // Let go of when this returns, however long `done` itself is kept.
              const auto loop = std::move(work);
              boost::asio::post(
                  loop, [handler = std::move(handler), result = std::move(result)]() mutable {
                    std::move(handler)(std::move(result));
                  });
            }));
      },
      boost::asio::use_awaitable, std::move(start));
}

// The same with an end: at `deadline`, `give_up` runs on the loop; it must make `done` be called
// (destroying a stream does).
template <typename Result, typename Start, typename GiveUp>
boost::asio::awaitable<Result> AwaitUntil(std::chrono::steady_clock::time_point deadline,
                                          Start start, GiveUp give_up) {
  // The timer's handler may be on its way when the answer comes.
  const auto over = std::make_shared<bool>(false);
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, deadline);
  timer.async_wait([over, give_up = std::move(give_up)](boost::system::error_code error) mutable {
    if (!error && !*over) give_up();
  });
  Result result = co_await Await<Result>(std::move(start));
  *over = true;
  co_return result;
}

}  // namespace postern::async

#endif  // POSTERN_SERVICES_ASYNC_AWAIT_H_
