#include "auth-svc/domain/login_memory.h"

#include <sodium.h>

#include <utility>

namespace postern::auth {
namespace {

// Each part behind its length: no two different triples give the same octets.
void Absorb(crypto_generichash_state* state, absl::string_view part) {
  const uint64_t size = part.size();
  crypto_generichash_update(state, reinterpret_cast<const unsigned char*>(&size), sizeof(size));
  crypto_generichash_update(state, reinterpret_cast<const unsigned char*>(part.data()),
                            part.size());
}

}  // namespace

LoginMemory::LoginMemory(process::Clock clock, absl::Duration lifetime, size_t max_accounts)
    : clock_(std::move(clock)), lifetime_(lifetime), max_accounts_(max_accounts) {
  randombytes_buf(key_.data(), key_.size());
}

LoginMemory::~LoginMemory() { sodium_memzero(key_.data(), key_.size()); }

LoginMemory::Digest LoginMemory::Compute(absl::string_view account_id, int64_t version,
                                         absl::string_view password) const {
  Digest digest;
  crypto_generichash_state state;
  crypto_generichash_init(&state, key_.data(), key_.size(), digest.size());
  Absorb(&state, account_id);
  Absorb(&state, absl::string_view(reinterpret_cast<const char*>(&version), sizeof(version)));
  Absorb(&state, password);
  crypto_generichash_final(&state, digest.data(), digest.size());
  // The state has had the password in its block buffer.
  sodium_memzero(&state, sizeof(state));
  return digest;
}

void LoginMemory::DropOld(absl::Time now) {
  while (!entries_.empty() && (entries_.front().until <= now || entries_.size() > max_accounts_)) {
    by_account_.erase(entries_.front().account_id);
    entries_.pop_front();
  }
}

void LoginMemory::Remember(absl::string_view account_id, int64_t version,
                           absl::string_view password) {
  if (lifetime_ <= absl::ZeroDuration()) return;
  const Digest digest = Compute(account_id, version, password);
  const absl::Time now = clock_();
  absl::MutexLock lock(&mutex_);
  std::string id(account_id);
  auto present = by_account_.find(id);
  if (present != by_account_.end()) {
    entries_.erase(present->second);
    by_account_.erase(present);
  }
  entries_.push_back(Entry{id, digest, now + lifetime_});
  by_account_[std::move(id)] = std::prev(entries_.end());
  DropOld(now);
}

bool LoginMemory::Knows(absl::string_view account_id, int64_t version, absl::string_view password) {
  if (lifetime_ <= absl::ZeroDuration()) return false;
  const Digest digest = Compute(account_id, version, password);
  const absl::Time now = clock_();
  absl::MutexLock lock(&mutex_);
  DropOld(now);
  auto present = by_account_.find(std::string(account_id));
  return present != by_account_.end() &&
         sodium_memcmp(present->second->digest.data(), digest.data(), digest.size()) == 0;
}

size_t LoginMemory::size() const {
  absl::MutexLock lock(&mutex_);
  return entries_.size();
}

}  // namespace postern::auth
