// A line to wait in, on one loop: for a place that somebody else has.
#ifndef POSTERN_RELAY_SVC_SMTP_LINE_H_
#define POSTERN_RELAY_SVC_SMTP_LINE_H_

#include <deque>

#include "boost/asio/awaitable.hpp"
#include "boost/asio/redirect_error.hpp"
#include "boost/asio/steady_timer.hpp"
#include "boost/asio/this_coro.hpp"
#include "boost/asio/use_awaitable.hpp"

namespace postern::relay {

// One thread; outlives those who wait.
class Line {
 public:
  // Until Next() has called this one.
  boost::asio::awaitable<void> Wait() {
    boost::asio::steady_timer never(co_await boost::asio::this_coro::executor,
                                    boost::asio::steady_timer::time_point::max());
    waiting_.push_back(&never);
    boost::system::error_code called;
    co_await never.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, called));
  }
  // Calls the one that has waited longest.
  void Next() {
    if (waiting_.empty()) return;
    boost::asio::steady_timer* const first = waiting_.front();
    waiting_.pop_front();
    first->cancel();
  }
  bool empty() const { return waiting_.empty(); }
  size_t size() const { return waiting_.size(); }

 private:
  std::deque<boost::asio::steady_timer*> waiting_;
};

// So many at a time; the others wait in line. One thread.
class Places {
 public:
  explicit Places(int count) : free_(count) {}

  boost::asio::awaitable<void> Take() {
    while (free_ == 0) co_await line_.Wait();
    --free_;
  }
  void GiveBack() {
    ++free_;
    line_.Next();
  }

 private:
  int free_;
  Line line_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_SMTP_LINE_H_
