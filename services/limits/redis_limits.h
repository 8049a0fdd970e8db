// Limits in Redis, over all replicas that use it; in this process alone while it is away or slow.
#ifndef POSTERN_SERVICES_LIMITS_REDIS_LIMITS_H_
#define POSTERN_SERVICES_LIMITS_REDIS_LIMITS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/limits/limits.h"
#include "services/limits/local_limits.h"
#include "services/process/clock.h"
#include "services/storage/redis/client.h"

namespace postern::limits {

// Keys are PREFIX:KEY, each with a time to live after which it says nothing any more:
//   rates      microseconds since 1970 when all is as new (gcra.h); as long as that is ahead
//   greylist   when the key was first seen; the retry window, then the pass's lifetime
//   remembered 1; its lifetime
// Each command touches one key, so that a cluster serves it.
class RedisLimits final : public Limits {
 public:
  // `clock`: instead of the server's time, for tests.
  RedisLimits(std::unique_ptr<storage::redis::Client> client, std::string prefix,
              process::Clock clock = nullptr);

  void Take(Charge charge, Answer<Verdict> done) override;
  void Greylist(std::string key, Greylisting greylisting, Answer<absl::Duration> done) override;
  void Remember(std::string key, absl::Duration lifetime) override;
  void IsRemembered(std::string key, Answer<bool> done) override;

  const storage::redis::Client& client() const { return *client_; }

 private:
  std::string Key(const std::string& key) const;
  std::string Now() const;

  const std::string prefix_;
  const process::Clock clock_;
  LocalLimits local_;
  // Last: its answers use the rest.
  const std::unique_ptr<storage::redis::Client> client_;
};

// What a service uses: in Redis when it is told of one, and in this process alone otherwise.
absl::StatusOr<std::unique_ptr<Limits>> OpenLimits(bool has_redis, const config::v1::Redis& redis);

}  // namespace postern::limits

#endif  // POSTERN_SERVICES_LIMITS_REDIS_LIMITS_H_
