#include "auth-svc/domain/password.h"

#include <sodium.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "auth-svc/domain/stored_hash.h"

namespace postern::auth {
namespace {

constexpr size_t kMinPasswordOctets = 8;
constexpr size_t kMaxPasswordOctets = 1024;

}  // namespace

absl::Status CheckNewPassword(absl::string_view password) {
  if (password.size() < kMinPasswordOctets || password.size() > kMaxPasswordOctets) {
    return absl::InvalidArgumentError(absl::StrCat("a password has ", kMinPasswordOctets, " to ",
                                                   kMaxPasswordOctets, " octets; this one has ",
                                                   password.size()));
  }
  if (std::any_of(password.begin(), password.end(),
                  [](unsigned char c) { return absl::ascii_iscntrl(c); })) {
    return absl::InvalidArgumentError(
        "a password has no control characters (NUL, tab, line ends): choose another");
  }
  return absl::OkStatus();
}

void Wipe(std::string* secret) {
  if (!secret->empty()) sodium_memzero(secret->data(), secret->size());
  secret->clear();
}

absl::StatusOr<std::string> Argon2Hasher::Hash(absl::string_view password) {
  char hash[crypto_pwhash_argon2id_STRBYTES];
  if (crypto_pwhash_argon2id_str(hash, password.data(), password.size(), cost_.passes,
                                 cost_.memory_octets) != 0) {
    return absl::ResourceExhaustedError("not enough memory to hash a password");
  }
  return std::string(hash);
}

absl::StatusOr<bool> Argon2Hasher::Verify(const std::string& hash, absl::string_view password) {
  return VerifyHash(hash, password);
}

bool Argon2Hasher::Outdated(const std::string& hash) const {
  return crypto_pwhash_argon2id_str_needs_rehash(hash.c_str(), cost_.passes, cost_.memory_octets) !=
         0;
}

}  // namespace postern::auth
