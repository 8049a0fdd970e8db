#include "auth-svc/domain/app_password.h"

#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "services/crypto/random_octets.h"
#include "services/crypto/sha256.h"

namespace postern::auth {
namespace {

constexpr absl::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";
constexpr size_t kRandomOctets = 15;
constexpr size_t kLetters = 24;
constexpr size_t kGroup = 4;

}  // namespace

std::string NewAppPassword() {
  std::string password;
  uint32_t bits = 0;
  int held = 0;
  for (const char octet : crypto::RandomOctets(kRandomOctets)) {
    bits = bits << 8 | static_cast<unsigned char>(octet);
    for (held += 8; held >= 5; held -= 5) {
      if (password.size() % (kGroup + 1) == kGroup) password.push_back('-');
      password.push_back(kAlphabet[bits >> (held - 5) & 31]);
    }
  }
  return password;
}

std::optional<std::string> AppPasswordHash(absl::string_view account_id,
                                           absl::string_view password) {
  std::string letters;
  for (const char c : password) {
    if (c == '-' || c == ' ') continue;
    letters.push_back(absl::ascii_tolower(c));
    if (letters.size() > kLetters || kAlphabet.find(letters.back()) == absl::string_view::npos) {
      return std::nullopt;
    }
  }
  if (letters.size() != kLetters) return std::nullopt;
  crypto::Sha256 hash;
  hash.Field("postern application password");
  hash.Field(account_id);
  hash.Field(letters);
  return absl::BytesToHexString(hash.Finish());
}

}  // namespace postern::auth
