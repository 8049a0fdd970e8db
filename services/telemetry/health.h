// What a process says of itself over HTTP.
#ifndef POSTERN_SERVICES_TELEMETRY_HEALTH_H_
#define POSTERN_SERVICES_TELEMETRY_HEALTH_H_

#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "services/telemetry/http_server.h"

namespace postern::telemetry {

// Not ready until it has been told whom to ask, and again once the process drains. Thread-safe.
class Health {
 public:
  // `ready` is asked on the HTTP thread until Draining() has returned.
  void Started(std::function<absl::Status()> ready);
  void Draining();

  // /livez: the process runs its HTTP thread. /readyz: 200, or 503 and why not. /metrics.
  HttpResponse Answer(absl::string_view path);

 private:
  absl::Status Ready();

  absl::Mutex mutex_;
  std::string state_ ABSL_GUARDED_BY(mutex_) = "starting";
  std::function<absl::Status()> ready_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::telemetry

#endif  // POSTERN_SERVICES_TELEMETRY_HEALTH_H_
