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
  using Time = boost::asio::steady_timer::time_point;

  // True when Next() has called this one; false at the deadline.
  boost::asio::awaitable<bool> Wait(Time deadline) {
    boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, deadline);
    waiting_.push_back(&timer);
    boost::system::error_code ignored;
    co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    // Next() takes whom it calls out of the line, also one whose time was up at that moment.
    co_return std::erase(waiting_, &timer) == 0;
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

// So many at a time; the others wait in line, and a place that is given back is the first one's.
// One thread.
class Places {
 public:
  explicit Places(int count) : free_(count) {}

  // False at the deadline: no place.
  boost::asio::awaitable<bool> Take(Line::Time deadline) {
    if (free_ > 0) {
      --free_;
      co_return true;
    }
    co_return co_await line_.Wait(deadline);
  }
  void GiveBack() {
    if (line_.empty()) {
      ++free_;
    } else {
      line_.Next();
    }
  }

 private:
  int free_;
  Line line_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_SMTP_LINE_H_
