#include "services/telemetry/health.h"

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "services/telemetry/metrics.h"

namespace postern::telemetry {

void Health::Started(std::function<absl::Status()> ready) {
  absl::MutexLock lock(&mutex_);
  state_.clear();
  ready_ = std::move(ready);
}

void Health::Draining() {
  absl::MutexLock lock(&mutex_);
  state_ = "draining";
  ready_ = nullptr;
}

HttpResponse Health::Answer(absl::string_view path) {
  if (path == "/livez") {
    return {.body = "ok\n"};
  }
  if (path == "/readyz") {
    const absl::Status status = Ready();
    return status.ok() ? HttpResponse{.body = "ok\n"}
                       : HttpResponse{.code = 503, .body = absl::StrCat(status.message(), "\n")};
  }
  if (path == "/metrics") {
    return {.body = RenderMetrics(), .content_type = "text/plain; version=0.0.4; charset=utf-8"};
  }
  return {.code = 404, .body = "there are /livez, /readyz and /metrics\n"};
}

// Under the lock: once Draining() has returned, nobody is asked any more.
absl::Status Health::Ready() {
  absl::MutexLock lock(&mutex_);
  return ready_ != nullptr ? ready_() : absl::UnavailableError(state_);
}

}  // namespace postern::telemetry
