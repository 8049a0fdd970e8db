// Good logins of the last minutes, so that a client that polls does not cost an argon2 each time.
#ifndef POSTERN_AUTH_SVC_DOMAIN_LOGIN_MEMORY_H_
#define POSTERN_AUTH_SVC_DOMAIN_LOGIN_MEMORY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/process/clock.h"

namespace postern::auth {

// Thread-safe. Keeps, for each account, a BLAKE2b of account id, row version and password under a
// key that is made with the object and dies with it; never the password. The caller reads the row's
// version from the database each time, so that a change of the account ends what is remembered on
// every replica at once.
class LoginMemory {
 public:
  // `lifetime` zero: remembers nothing. When `max_accounts` are remembered, the oldest goes.
  LoginMemory(process::Clock clock, absl::Duration lifetime, size_t max_accounts);
  ~LoginMemory();
  LoginMemory(const LoginMemory&) = delete;
  LoginMemory& operator=(const LoginMemory&) = delete;

  // A login whose password was just verified against the row of this version. Not to be called for
  // one that Knows() answered: what is remembered must end.
  void Remember(absl::string_view account_id, int64_t version, absl::string_view password);
  bool Knows(absl::string_view account_id, int64_t version, absl::string_view password);

  size_t size() const;

 private:
  using Digest = std::array<unsigned char, 32>;
  struct Entry {
    std::string account_id;
    Digest digest;
    absl::Time until;
  };

  Digest Compute(absl::string_view account_id, int64_t version, absl::string_view password) const;
  void DropOld(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const process::Clock clock_;
  const absl::Duration lifetime_;
  const size_t max_accounts_;
  std::array<unsigned char, 32> key_;
  mutable absl::Mutex mutex_;
  // Oldest first; all live equally long, so this is also the order in which they end.
  std::list<Entry> entries_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::list<Entry>::iterator> by_account_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_LOGIN_MEMORY_H_
