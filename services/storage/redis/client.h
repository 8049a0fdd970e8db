// Redis for many threads: one server, the master that sentinels name, or a cluster.
#ifndef POSTERN_SERVICES_STORAGE_REDIS_CLIENT_H_
#define POSTERN_SERVICES_STORAGE_REDIS_CLIENT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/async/done.h"
#include "services/storage/redis/reply.h"
#include "services/telemetry/metrics.h"

namespace postern::storage::redis {

// Lua that runs in the server, all or nothing, known there by its digest (EVALSHA).
class Script {
 public:
  explicit Script(absl::string_view text);

  const std::string& text() const { return text_; }
  const std::string& sha1() const { return sha1_; }

 private:
  std::string text_;
  std::string sha1_;
};

// postern_redis_up: 1 while a client's Redis answers.
telemetry::Gauge& Up();

// Thread-safe. Keeps its connections and makes them again; commands of all threads share them.
class Client {
 public:
  // INVALID_ARGUMENT names the setting. A server that can't be reached is no error: the log and
  // postern_redis_up say so.
  static absl::StatusOr<std::unique_ptr<Client>> Open(const config::v1::Redis& config);
  virtual ~Client() = default;

  // NAME KEY ARGUMENT ... `done` runs once, on the client's own thread or, when it is known that
  // nothing would come of it, on this one; it must not block. UNAVAILABLE within the configured
  // timeout: the server is away or too slow; the command may have been done. FAILED_PRECONDITION:
  // it says no.
  virtual void Run(std::string name, std::string key, std::vector<std::string> arguments,
                   async::Done<Reply> done) = 0;
  // The script with KEYS[1] = key.
  virtual void Run(const Script& script, std::string key, std::vector<std::string> arguments,
                   async::Done<Reply> done) = 0;

  // As far as is known; blocks for nothing. In a cluster: that all of it is served.
  virtual absl::Status Ready() const = 0;
};

// What can be said of it without a connection: INVALID_ARGUMENT begins with the setting.
absl::Status CheckConfig(const config::v1::Redis& config);

// The slot of a key (https://redis.io/docs/reference/cluster-spec/): CRC16 of what is in its first
// pair of braces, or of all of it.
int SlotOf(absl::string_view key);

}  // namespace postern::storage::redis

#endif  // POSTERN_SERVICES_STORAGE_REDIS_CLIENT_H_
