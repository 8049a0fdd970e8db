// Where the keys of an identity provider come from, and the newest of them.
#ifndef POSTERN_AUTH_SVC_OAUTH_KEY_SOURCE_H_
#define POSTERN_AUTH_SVC_OAUTH_KEY_SOURCE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "auth-svc/oauth/key_set.h"
#include "services/config/reloaded_file.h"
#include "services/process/clock.h"

namespace postern::auth::oauth {

// Thread-safe. Both block for a fetch at most; UNAVAILABLE: it failed, or is not over in time.
class KeySource {
 public:
  virtual ~KeySource() = default;
  // Those known, however old.
  virtual absl::StatusOr<std::shared_ptr<const KeySet>> Known() = 0;
  // For a token of a key that is not in Known(): those of now, as far as we may ask for them.
  virtual absl::StatusOr<std::shared_ptr<const KeySet>> Newest() = 0;
};

// A file, read again when it changes.
class FileKeys final : public KeySource {
 public:
  static absl::StatusOr<std::unique_ptr<FileKeys>> Open(const std::string& file);

  absl::StatusOr<std::shared_ptr<const KeySet>> Known() override { return file_->Get(); }
  absl::StatusOr<std::shared_ptr<const KeySet>> Newest() override { return file_->Get(); }

 private:
  explicit FileKeys(std::unique_ptr<config::ReloadedFile<KeySet>> file) : file_(std::move(file)) {}

  const std::unique_ptr<config::ReloadedFile<KeySet>> file_;
};

// A URL, fetched by a thread of its own: at once, then every `refresh`, or every 10 s while that
// fails. Newest() has it fetched in between, every 10 s at most, and not while it fails anyway: an
// issuer that hangs costs the callers one timeout.
class FetchedKeys final : public KeySource {
 public:
  struct Options {
    // For the log.
    std::string name;
    std::string url;
    std::string ca_file;
    absl::Duration timeout;
    absl::Duration refresh;
    process::Clock clock;
  };

  explicit FetchedKeys(Options options);
  ~FetchedKeys() override;
  FetchedKeys(const FetchedKeys&) = delete;
  FetchedKeys& operator=(const FetchedKeys&) = delete;

  absl::StatusOr<std::shared_ptr<const KeySet>> Known() override;
  absl::StatusOr<std::shared_ptr<const KeySet>> Newest() override;

 private:
  using Keys = std::shared_ptr<const KeySet>;

  void Run();
  absl::StatusOr<KeySet> Fetch();
  void Take(absl::StatusOr<KeySet> fetched) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Keys> Await() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsWanted() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return done_ < wanted_; }

  const Options options_;
  std::atomic<bool> stopping_ = false;
  absl::Mutex mutex_;
  Keys keys_ ABSL_GUARDED_BY(mutex_);
  // Of the last fetch.
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  // Fetches that were begun, that are over, and up to which somebody waits for them.
  int64_t begun_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t done_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t wanted_ ABSL_GUARDED_BY(mutex_) = 1;
  absl::Time asked_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  std::thread thread_;
};

}  // namespace postern::auth::oauth

#endif  // POSTERN_AUTH_SVC_OAUTH_KEY_SOURCE_H_
