#include "services/limits/redis_limits.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "services/crypto/sha256.h"
#include "services/limits/gcra.h"
#include "services/storage/redis/reply.h"
#include "services/telemetry/log.h"
#include "services/telemetry/metrics.h"

namespace postern::limits {
namespace {

using storage::redis::Reply;
using storage::redis::Script;

// A longer key is its digest: clients choose parts of them.
constexpr size_t kMaxKeyOctets = 200;
// Redis is told again that long after it was told that a key is to be remembered.
constexpr absl::Duration kRememberedHere = absl::Hours(24);

// ARGV: now (0: the server's), interval, window, cost, unconditional. As gcra.h, in microseconds.
const Script& TakeScript() {
  static const Script& script = *new Script(R"lua(
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local interval, window, cost = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local before = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local after = math.min(math.max(before + cost * interval, now), now + 2 * window)
local allowed = after - now <= window
local arrival = before
if allowed or ARGV[5] == '1' or cost <= 0 then arrival = after end
local room = now + window - arrival
local left = math.max(math.floor(room / interval), 0)
if cost <= 0 then allowed = left > 0 end
if arrival <= now then
  redis.call('DEL', KEYS[1])
elseif arrival ~= before then
  redis.call('SET', KEYS[1], string.format('%.0f', arrival),
             'PX', string.format('%.0f', math.ceil((arrival - now) / 1000)))
end
return {allowed and 1 or 0, left, math.max(interval - room, 0)}
)lua");
  return script;
}

// ARGV: now (0: the server's), delay, retry window, pass lifetime. Microseconds; lifetimes in ms.
const Script& GreylistScript() {
  static const Script& script = *new Script(R"lua(
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local first = redis.call('GET', KEYS[1])
if not first then
  redis.call('SET', KEYS[1], string.format('%.0f', now), 'PX', ARGV[3])
  return tonumber(ARGV[2])
end
local wait = tonumber(ARGV[2]) - (now - tonumber(first))
if wait > 0 then return wait end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 0
)lua");
  return script;
}

std::string Milliseconds(absl::Duration time) {
  return absl::StrCat(std::max<int64_t>(absl::ToInt64Milliseconds(time), 1));
}

telemetry::Counter& CountedHere() {
  static telemetry::Counter& counter = telemetry::GetCounter(
      "postern_limits_local_total", "Limits that this process counted alone, without Redis.");
  return counter;
}

// Whether Redis answered as it should; when it did not, that is counted, and said where waiting
// mends nothing.
bool Answered(const absl::StatusOr<Reply>& reply) {
  if (reply.ok()) return true;
  CountedHere().Add();
  static std::atomic<bool> said{false};
  if (!absl::IsUnavailable(reply.status()) && !said.exchange(true)) {
    telemetry::Log(telemetry::LogLevel::kError,
                   "redis refuses a command: limits are counted here alone",
                   {{"status", reply.status().ToString()}});
  }
  return false;
}

}  // namespace

RedisLimits::RedisLimits(std::unique_ptr<storage::redis::Client> client, std::string prefix,
                         process::Clock clock)
    : prefix_(std::move(prefix)), clock_(std::move(clock)), client_(std::move(client)) {
  CountedHere();  // A rate misses what made its counter appear.
}

std::string RedisLimits::Key(const std::string& key) const {
  return absl::StrCat(
      prefix_, ":",
      key.size() > kMaxKeyOctets ? absl::BytesToHexString(crypto::Sha256Of(key)) : key);
}

std::string RedisLimits::Now() const {
  return clock_ == nullptr ? "0" : absl::StrCat(absl::ToUnixMicros(clock_()));
}

void RedisLimits::Take(Charge charge, Answer<Verdict> done) {
  std::string key = Key(charge.key);
  std::vector<std::string> arguments = {
      Now(), absl::StrCat(IntervalOf(charge.rate)), absl::StrCat(WindowOf(charge.rate)),
      absl::StrCat(CostOf(charge)), charge.unconditional ? "1" : "0"};
  client_->Run(TakeScript(), std::move(key), std::move(arguments),
               [this, charge = std::move(charge),
                done = std::move(done)](absl::StatusOr<Reply> reply) mutable {
                 if (!Answered(reply) || reply->elements.size() != 3) {
                   local_.Take(std::move(charge), std::move(done));
                   return;
                 }
                 done({.allowed = reply->elements[0].integer == 1,
                       .left = reply->elements[1].integer,
                       .wait = absl::Microseconds(reply->elements[2].integer)});
               });
}

void RedisLimits::Greylist(std::string key, Greylisting greylisting, Answer<absl::Duration> done) {
  std::string name = Key(key);
  std::vector<std::string> arguments = {
      Now(), absl::StrCat(absl::ToInt64Microseconds(greylisting.delay)),
      Milliseconds(greylisting.retry_window), Milliseconds(greylisting.pass_lifetime)};
  client_->Run(GreylistScript(), std::move(name), std::move(arguments),
               [this, key = std::move(key), greylisting,
                done = std::move(done)](absl::StatusOr<Reply> reply) mutable {
                 if (!Answered(reply)) {
                   local_.Greylist(std::move(key), greylisting, std::move(done));
                   return;
                 }
                 done(absl::Microseconds(reply->integer));
               });
}

void RedisLimits::Remember(std::string key, absl::Duration lifetime) {
  bool known = false;
  local_.IsRemembered(key, [&known](bool answer) { known = answer; });
  if (known) return;
  client_->Run("SET", Key(key), {"1", "PX", Milliseconds(lifetime)},
               [](const absl::StatusOr<Reply>& reply) { Answered(reply); });
  local_.Remember(std::move(key), std::min(lifetime, kRememberedHere));
}

void RedisLimits::IsRemembered(std::string key, Answer<bool> done) {
  std::string name = Key(key);
  client_->Run(
      "EXISTS", std::move(name), {},
      [this, key = std::move(key), done = std::move(done)](absl::StatusOr<Reply> reply) mutable {
        if (Answered(reply) && reply->integer == 1) {
          done(true);
          return;
        }
        // Redis may have lost what we know.
        local_.IsRemembered(std::move(key), std::move(done));
      });
}

absl::StatusOr<std::unique_ptr<Limits>> OpenLimits(bool has_redis, const config::v1::Redis& redis) {
  if (!has_redis) {
    storage::redis::Up().Set(0);
    return std::make_unique<LocalLimits>();
  }
  absl::StatusOr<std::unique_ptr<storage::redis::Client>> client =
      storage::redis::Client::Open(redis);
  if (!client.ok()) return client.status();
  return std::make_unique<RedisLimits>(*std::move(client), redis.key_prefix());
}

}  // namespace postern::limits
