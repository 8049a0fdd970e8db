// Passwords: what a new one must be, and its hash: argon2id (RFC 9106) through libsodium.
#ifndef POSTERN_AUTH_SVC_DOMAIN_PASSWORD_H_
#define POSTERN_AUTH_SVC_DOMAIN_PASSWORD_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::auth {

// 8 to 1024 octets without control characters: those do not survive every way in which a client may
// send them. INVALID_ARGUMENT is a sentence for an operator and never has the password in it.
absl::Status CheckNewPassword(absl::string_view password);

// Overwrites and empties it. What was copied elsewhere (by gRPC's buffers) is out of reach.
void Wipe(std::string* secret);

// Thread-safe. Each call takes the memory and time of one hash on the calling thread.
class PasswordHasher {
 public:
  virtual ~PasswordHasher() = default;
  // RESOURCE_EXHAUSTED: no memory.
  virtual absl::StatusOr<std::string> Hash(absl::string_view password) = 0;
  // Of a hash of any scheme (stored_hash.h). False when it does not match; RESOURCE_EXHAUSTED when
  // that could not be found out.
  virtual absl::StatusOr<bool> Verify(const std::string& hash, absl::string_view password) = 0;
  // A hash that Hash would make otherwise today: of another scheme or another cost.
  virtual bool Outdated(const std::string& hash) const = 0;
};

class Argon2Hasher final : public PasswordHasher {
 public:
  struct Cost {
    size_t memory_octets = 64 << 20;
    int passes = 2;
  };
  explicit Argon2Hasher(const Cost& cost) : cost_(cost) {}

  absl::StatusOr<std::string> Hash(absl::string_view password) override;
  absl::StatusOr<bool> Verify(const std::string& hash, absl::string_view password) override;
  bool Outdated(const std::string& hash) const override;

 private:
  const Cost cost_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_PASSWORD_H_
