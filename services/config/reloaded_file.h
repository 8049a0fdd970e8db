// A value read from a file, and read again when the file changes.
#ifndef POSTERN_SERVICES_CONFIG_RELOADED_FILE_H_
#define POSTERN_SERVICES_CONFIG_RELOADED_FILE_H_

#include <sys/stat.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "services/telemetry/log.h"
#include "services/telemetry/reload_failures.h"

namespace postern::config {

// Thread-safe. Looks at the file at most once a second, when it is asked for the value; a broken
// new file is logged and leaves the old value in force.
template <typename T>
class ReloadedFile {
 public:
  using Read = std::function<absl::StatusOr<T>(absl::string_view file)>;

  static absl::StatusOr<std::unique_ptr<ReloadedFile>> Open(absl::string_view file, Read read) {
    std::unique_ptr<ReloadedFile> made(new ReloadedFile(file, std::move(read)));
    {
      absl::MutexLock reading(&made->reading_);
      made->signature_ = made->Look();
      made->said_ = made->signature_;
    }
    absl::StatusOr<T> value = made->read_(file);
    if (!value.ok()) {
      return value.status();
    }
    absl::MutexLock lock(&made->mutex_);
    made->value_ = std::make_shared<const T>(*std::move(value));
    return made;
  }

  std::shared_ptr<const T> Get() {
    const int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
    int64_t due = next_look_.load(std::memory_order_relaxed);
    // Whoever moves the time on looks; the others take what there is.
    if (now >= due && next_look_.compare_exchange_strong(due, now + kInterval)) {
      Reload();
    }
    absl::ReaderMutexLock lock(&mutex_);
    return value_;
  }

 private:
  using Signature = std::array<int64_t, 5>;
  static constexpr int64_t kInterval =
      std::chrono::steady_clock::duration(std::chrono::seconds(1)).count();

  ReloadedFile(absl::string_view file, Read read) : file_(file), read_(std::move(read)) {}

  Signature Look() const {
    struct stat s {};
    if (stat(file_.c_str(), &s) != 0) {
      return {};
    }
    return {static_cast<int64_t>(s.st_dev), static_cast<int64_t>(s.st_ino), s.st_size,
            s.st_mtim.tv_sec, s.st_mtim.tv_nsec};
  }

  void Reload() {
    absl::MutexLock reading(&reading_);
    const Signature now = Look();
    if (now == signature_) {
      return;
    }
    absl::StatusOr<T> value = read_(file_);
    if (!value.ok()) {
      // Tried again each second, said once.
      if (std::exchange(said_, now) == now) {
        return;
      }
      telemetry::ReloadFailures().Add();
      telemetry::Log(telemetry::LogLevel::kError,
                     "file not read again, what it held stays in force",
                     {{"file", file_}, {"why", value.status().message()}});
      return;
    }
    signature_ = now;
    said_ = now;
    telemetry::Log(telemetry::LogLevel::kInfo, "file read again", {{"file", file_}});
    auto made = std::make_shared<const T>(*std::move(value));
    absl::MutexLock lock(&mutex_);
    value_ = std::move(made);
  }

  const std::string file_;
  const Read read_;
  std::atomic<int64_t> next_look_{0};
  absl::Mutex reading_;
  // Of the file whose value is in force, and of the last one that was logged.
  Signature signature_ ABSL_GUARDED_BY(reading_){};
  Signature said_ ABSL_GUARDED_BY(reading_){};
  absl::Mutex mutex_;
  std::shared_ptr<const T> value_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::config

#endif  // POSTERN_SERVICES_CONFIG_RELOADED_FILE_H_
