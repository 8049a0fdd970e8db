// Passwords: what a new one must be, and its hash: argon2id (RFC 9106) through libsodium.
#ifndef POSTERN_AUTH_SVC_DOMAIN_PASSWORD_H_
#define POSTERN_AUTH_SVC_DOMAIN_PASSWORD_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/protocol/sasl/scram.h"

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

// What is kept of a password.
struct StoredPassword {
  std::string hash;
  // For SCRAM, bound to `hash` (ScramOf); empty when there is none.
  std::string scram_sha_256 = {};
};

// Thread-safe; `hasher` must outlive it.
class PasswordKeeper {
 public:
  // `scram_iterations` 0: nothing for SCRAM is made, and nothing that is there is used.
  PasswordKeeper(PasswordHasher& hasher, uint32_t scram_iterations)
      : hasher_(hasher), scram_iterations_(scram_iterations) {}

  PasswordHasher& hasher() const { return hasher_; }
  uint32_t scram_iterations() const { return scram_iterations_; }

  // As Hash; INVALID_ARGUMENT: SCRAM could not carry it.
  absl::StatusOr<StoredPassword> Keep(absl::string_view password) const;
  // What is kept for SCRAM beside a hash that is there already.
  absl::StatusOr<std::string> KeepScram(absl::string_view hash, absl::string_view password) const;
  // What is kept for SCRAM, when it is of this very hash: a version that knows nothing of SCRAM may
  // have changed that alone.
  std::optional<sasl::ScramVerifier> ScramOf(const StoredPassword& stored) const;
  // Whether KeepScram would make it otherwise today.
  bool ScramOutdated(const StoredPassword& stored) const;

 private:
  PasswordHasher& hasher_;
  const uint32_t scram_iterations_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_PASSWORD_H_
