#include "auth-svc/domain/password.h"

#include <sodium.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "auth-svc/domain/stored_hash.h"
#include "services/crypto/random_octets.h"
#include "services/crypto/sha256.h"

namespace postern::auth {
namespace {

constexpr size_t kMinPasswordOctets = 8;
constexpr size_t kMaxPasswordOctets = 1024;
constexpr size_t kScramSaltOctets = 16;
constexpr size_t kTagOctets = 8;

// Of the hash that a verifier belongs to.
std::string TagOf(absl::string_view hash) {
  return absl::BytesToHexString(crypto::Sha256Of(hash).substr(0, kTagOctets));
}

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

absl::StatusOr<StoredPassword> PasswordKeeper::Keep(absl::string_view password) const {
  absl::StatusOr<std::string> hash = hasher_.Hash(password);
  if (!hash.ok()) return hash.status();
  StoredPassword stored{*std::move(hash), ""};
  if (scram_iterations_ == 0) return stored;
  absl::StatusOr<std::string> scram = KeepScram(stored.hash, password);
  if (!scram.ok()) return scram.status();
  stored.scram_sha_256 = *std::move(scram);
  return stored;
}

absl::StatusOr<std::string> PasswordKeeper::KeepScram(absl::string_view hash,
                                                      absl::string_view password) const {
  absl::StatusOr<sasl::ScramVerifier> verifier =
      sasl::MakeScramVerifier(password, crypto::RandomOctets(kScramSaltOctets), scram_iterations_);
  if (!verifier.ok()) return verifier.status();
  return absl::StrCat(TagOf(hash), ",", verifier->ToString());
}

std::optional<sasl::ScramVerifier> PasswordKeeper::ScramOf(const StoredPassword& stored) const {
  if (scram_iterations_ == 0) return std::nullopt;
  absl::string_view text = stored.scram_sha_256;
  if (!absl::ConsumePrefix(&text, absl::StrCat(TagOf(stored.hash), ","))) return std::nullopt;
  return sasl::ScramVerifier::FromString(text);
}

bool PasswordKeeper::ScramOutdated(const StoredPassword& stored) const {
  const std::optional<sasl::ScramVerifier> verifier = ScramOf(stored);
  return !verifier.has_value() || verifier->iterations != scram_iterations_;
}

}  // namespace postern::auth
