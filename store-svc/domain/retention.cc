#include "store-svc/domain/retention.h"

#include <cstddef>
#include <utility>

#include "absl/synchronization/notification.h"
#include "services/telemetry/log.h"

namespace postern::store {
namespace {

// Some milliseconds of the writer's time.
constexpr size_t kBatch = 500;

}  // namespace

Retention::Retention(MailStore* store, process::Clock clock, absl::Duration retention,
                     absl::Duration interval)
    : store_(store),
      clock_(std::move(clock)),
      retention_(retention),
      interval_(interval),
      thread_([this] { Run(); }) {}

Retention::~Retention() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

bool Retention::stopping() const {
  absl::MutexLock lock(&mutex_);
  return stopping_;
}

void Retention::Run() {
  do {
    ForgetAll();
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(&stopping_), interval_);
  } while (!stopping());
}

void Retention::ForgetAll() {
  absl::StatusOr<size_t> forgotten = kBatch;
  while (forgotten.ok() && *forgotten == kBatch && !stopping()) {
    absl::Notification done;
    store_->ForgetDeliveries(clock_() - retention_, kBatch, [&](absl::StatusOr<size_t> result) {
      forgotten = std::move(result);
      done.Notify();
    });
    done.WaitForNotification();
  }
  if (!forgotten.ok()) {
    telemetry::Log(telemetry::LogLevel::kWarning, "old delivery ids could not be forgotten",
                   {{"status", forgotten.status().ToString()}});
  }
}

}  // namespace postern::store
