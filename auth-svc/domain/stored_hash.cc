#include "auth-svc/domain/stored_hash.h"

#include <crypt.h>
#include <openssl/evp.h>
#include <sodium.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/text/nearest.h"

namespace postern::auth {
namespace {

// The dearest that one login may be: a second or two of a core, and 128 MiB.
constexpr uint32_t kMaxArgon2Kibibytes = 128 << 10;
constexpr uint32_t kMaxArgon2Passes = 16;
constexpr uint32_t kMaxArgon2Lanes = 16;
constexpr uint32_t kMaxBcryptCost = 14;
constexpr uint32_t kMaxShaCryptRounds = 1'000'000;
constexpr uint32_t kMaxPbkdf2Rounds = 2'000'000;
// 128 MiB, as crypt(5)'s base64 says it: crypt_gensalt's cost 8.
constexpr char kMaxYescryptMemory = 'C';
constexpr size_t kMaxHashOctets = 512;
constexpr size_t kMaxSaltOctets = 64;
constexpr size_t kMinSaltOctets = 4;
constexpr size_t kMinPbkdf2KeyOctets = 16;

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("the password hash is not well formed: ", what));
}

absl::Status TooDear(absl::string_view what, uint32_t most) {
  return absl::InvalidArgumentError(absl::StrCat(
      "the password hash is too dear to check at each login: ", what, " at most ", most));
}

const EVP_MD* DigestOf(absl::string_view scheme) {
  if (scheme == "SSHA") return EVP_sha1();
  if (scheme == "SSHA256") return EVP_sha256();
  if (scheme == "SSHA512") return EVP_sha512();
  return nullptr;
}

// What Dovecot calls the kinds of crypt(5), and what each begins with.
struct CryptName {
  absl::string_view name;
  std::vector<absl::string_view> begins;
};
const std::vector<CryptName>& CryptNames() {
  static const auto* const names = new std::vector<CryptName>{
      {"CRYPT", {"$y$", "$2a$", "$2b$", "$2y$", "$6$", "$5$", "$1$"}},
      {"BLF-CRYPT", {"$2a$", "$2b$", "$2y$"}},
      {"SHA512-CRYPT", {"$6$"}},
      {"SHA256-CRYPT", {"$5$"}},
      {"MD5-CRYPT", {"$1$"}},
  };
  return *names;
}

std::vector<std::string> AllNames() {
  std::vector<std::string> names = {"ARGON2ID", "PBKDF2-SHA256", "SSHA", "SSHA256", "SSHA512"};
  for (const CryptName& one : CryptNames()) names.emplace_back(one.name);
  std::sort(names.begin(), names.end());
  return names;
}

bool BeginsWithAny(absl::string_view text, const std::vector<absl::string_view>& begins) {
  return std::any_of(begins.begin(), begins.end(),
                     [text](absl::string_view begin) { return absl::StartsWith(text, begin); });
}

// "{SCHEME}rest"; the scheme in upper case, empty when there is none.
std::pair<std::string, absl::string_view> Split(absl::string_view text) {
  if (!absl::StartsWith(text, "{")) return {"", text};
  const size_t end = text.find('}');
  if (end == absl::string_view::npos) return {"", text};
  return {absl::AsciiStrToUpper(text.substr(1, end - 1)), text.substr(end + 1)};
}

struct Salted {
  std::string digest;
  std::string salt;
};

std::optional<Salted> ReadSalted(const EVP_MD* kind, absl::string_view base64) {
  std::string octets;
  if (!absl::Base64Unescape(base64, &octets)) return std::nullopt;
  const auto digest_octets = static_cast<size_t>(EVP_MD_size(kind));
  if (octets.size() < digest_octets + kMinSaltOctets ||
      octets.size() > digest_octets + kMaxSaltOctets) {
    return std::nullopt;
  }
  return Salted{octets.substr(0, digest_octets), octets.substr(digest_octets)};
}

struct Pbkdf2 {
  uint32_t rounds;
  std::string salt;
  std::string key;
};

std::optional<Pbkdf2> ReadPbkdf2(absl::string_view text) {
  const std::vector<std::string> parts = absl::StrSplit(text, '$');
  Pbkdf2 read;
  const auto unescape = [](std::string part, std::string* to) {
    std::replace(part.begin(), part.end(), '.', '+');
    return absl::Base64Unescape(part, to);
  };
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &read.rounds) || read.rounds == 0 ||
      !unescape(parts[1], &read.salt) || !unescape(parts[2], &read.key) ||
      read.salt.size() < kMinSaltOctets || read.salt.size() > kMaxSaltOctets ||
      read.key.size() < kMinPbkdf2KeyOctets || read.key.size() > kMaxSaltOctets) {
    return std::nullopt;
  }
  return read;
}

// RFC 9106's string form, as libargon2 writes it: $argon2id$v=19$m=65536,t=2,p=1$salt$hash.
absl::Status CheckArgon2(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '$');
  if (parts.size() != 6) return Malformed("argon2id has a version, costs, a salt and a hash");
  uint32_t kibibytes = 0, passes = 0, lanes = 0;
  for (const absl::string_view cost : absl::StrSplit(parts[3], ',')) {
    const std::pair<absl::string_view, absl::string_view> named =
        absl::StrSplit(cost, absl::MaxSplits('=', 1));
    uint32_t* const to = named.first == "m"   ? &kibibytes
                         : named.first == "t" ? &passes
                         : named.first == "p" ? &lanes
                                              : nullptr;
    if (to == nullptr || !absl::SimpleAtoi(named.second, to) || *to == 0) {
      return Malformed("argon2id's costs are m=...,t=...,p=...");
    }
  }
  if (kibibytes == 0 || passes == 0 || lanes == 0) {
    return Malformed("argon2id's costs are m=...,t=...,p=...");
  }
  if (kibibytes > kMaxArgon2Kibibytes) return TooDear("argon2id's m", kMaxArgon2Kibibytes);
  if (passes > kMaxArgon2Passes) return TooDear("argon2id's t", kMaxArgon2Passes);
  if (lanes > kMaxArgon2Lanes) return TooDear("argon2id's p", kMaxArgon2Lanes);
  // Reads all of it, whatever the answer.
  if (crypto_pwhash_argon2id_str_needs_rehash(std::string(text).c_str(), passes,
                                              size_t{kibibytes} << 10) < 0) {
    return Malformed("libsodium takes no such argon2id string");
  }
  return absl::OkStatus();
}

// What stands before the salt and says what a check costs.
absl::Status CheckCryptCost(absl::string_view text) {
  if (absl::StartsWith(text, "$2")) {
    uint32_t cost = 0;
    if (text.size() != 60 || text[6] != '$' || !absl::SimpleAtoi(text.substr(4, 2), &cost)) {
      return Malformed("bcrypt has a cost of two digits and 53 characters after it");
    }
    if (cost > kMaxBcryptCost) return TooDear("bcrypt's cost", kMaxBcryptCost);
  } else if (absl::StartsWith(text, "$y$")) {
    const std::vector<absl::string_view> parts = absl::StrSplit(text, '$');
    // 'j': the flavour that crypt_gensalt makes; then memory and block size.
    if (parts.size() != 5 || parts[2].size() != 3 || parts[2][0] != 'j') {
      return Malformed("yescrypt has the costs that crypt_gensalt gives it: $y$j..$salt$hash");
    }
    // In crypt(5)'s base64 digits come before capitals, as in ASCII.
    if (parts[2][1] > kMaxYescryptMemory || parts[2][2] > 'T') {
      return absl::InvalidArgumentError(
          "the password hash is too dear to check at each login: yescrypt's cost at most 8");
    }
  } else if (absl::ConsumePrefix(&text, "$6$rounds=") || absl::ConsumePrefix(&text, "$5$rounds=")) {
    uint32_t rounds = 0;
    if (!absl::SimpleAtoi(text.substr(0, text.find('$')), &rounds)) {
      return Malformed("rounds= has a number");
    }
    if (rounds > kMaxShaCryptRounds) return TooDear("rounds", kMaxShaCryptRounds);
  }
  return absl::OkStatus();
}

struct Wiped {
  void operator()(crypt_data* data) const {
    sodium_memzero(data, sizeof *data);
    delete data;
  }
};

// What crypt(5) makes of a password with the setting that `hash` begins with; empty: it can't.
absl::StatusOr<std::string> Crypt(const std::string& hash, absl::string_view password) {
  const std::unique_ptr<crypt_data, Wiped> data(new crypt_data());
  std::string phrase(password);
  errno = 0;
  const char* made = crypt_r(phrase.c_str(), hash.c_str(), data.get());
  const int error = errno;
  sodium_memzero(phrase.data(), phrase.size());
  if (made != nullptr && made[0] != '*') return std::string(made);
  if (error == ENOMEM) {
    return absl::ResourceExhaustedError("not enough memory to check a password");
  }
  return std::string();
}

bool Equal(absl::string_view a, absl::string_view b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

absl::Status CheckCrypt(const std::string& text) {
  if (absl::Status cost = CheckCryptCost(text); !cost.ok()) return cost;
  // Every salt and every setting that libxcrypt takes, and nothing else: it is asked. What it makes
  // has the length that the hash must have.
  const absl::StatusOr<std::string> made = Crypt(text, "a password");
  if (!made.ok()) return made.status();
  if (made->size() != text.size() ||
      made->substr(0, made->rfind('$')) != text.substr(0, text.rfind('$'))) {
    return Malformed("crypt(5) takes no such setting, or the hash has another length");
  }
  return absl::OkStatus();
}

absl::Status UnknownScheme(const std::string& scheme) {
  const std::vector<std::string> known = AllNames();
  const std::string nearest = text::Nearest(scheme, known);
  return absl::InvalidArgumentError(absl::StrCat(
      scheme.empty() ? "the password hash names no scheme that is taken"
                     : absl::StrCat("password hashes of scheme {",
                                    absl::CHexEscape(scheme.substr(0, 32)), "} are not taken"),
      nearest.empty() ? "" : absl::StrCat(" (did you mean {", nearest, "}?)"), ": taken are {",
      absl::StrJoin(known, "}, {"), "}, and $argon2id$, $y$, $2b$, $6$, $5$, $1$ without one"));
}

}  // namespace

absl::StatusOr<std::string> CanonicalHash(absl::string_view text) {
  if (text.size() > kMaxHashOctets) return Malformed("it has more than 512 characters");
  if (!std::all_of(text.begin(), text.end(),
                   [](unsigned char c) { return absl::ascii_isgraph(c); })) {
    return Malformed("it has blanks or characters that are not ASCII");
  }
  const auto [scheme, rest] = Split(text);
  if (absl::StartsWith(rest, "$argon2id$") && (scheme.empty() || scheme == "ARGON2ID")) {
    if (absl::Status good = CheckArgon2(rest); !good.ok()) return good;
    return std::string(rest);
  }
  for (const CryptName& one : CryptNames()) {
    if (scheme != one.name && !(scheme.empty() && one.name == "CRYPT")) continue;
    if (!BeginsWithAny(rest, one.begins)) {
      if (scheme.empty()) break;
      return Malformed(
          absl::StrCat("after {", scheme, "} comes ", absl::StrJoin(one.begins, ", or ")));
    }
    std::string hash(rest);
    if (absl::Status good = CheckCrypt(hash); !good.ok()) return good;
    return hash;
  }
  if (const EVP_MD* const digest = DigestOf(scheme); digest != nullptr) {
    if (!ReadSalted(digest, rest).has_value()) {
      return Malformed(absl::StrCat("after {", scheme, "} comes the base64 of ",
                                    EVP_MD_size(digest), " octets and a salt of ", kMinSaltOctets,
                                    " to ", kMaxSaltOctets));
    }
    return absl::StrCat("{", scheme, "}", rest);
  }
  if (scheme == "PBKDF2-SHA256") {
    const std::optional<Pbkdf2> read = ReadPbkdf2(rest);
    if (!read.has_value()) return Malformed("after {PBKDF2-SHA256} comes rounds$salt$key");
    if (read->rounds > kMaxPbkdf2Rounds) return TooDear("rounds", kMaxPbkdf2Rounds);
    return absl::StrCat("{", scheme, "}", rest);
  }
  return UnknownScheme(scheme);
}

std::string SchemeOf(absl::string_view hash) {
  const auto [scheme, rest] = Split(hash);
  if (!scheme.empty()) return scheme;
  const size_t end = rest.find('$', 1);
  const absl::string_view name = rest.substr(0, end).substr(rest.empty() ? 0 : 1);
  return name == "argon2id" ? std::string(name) : absl::StrCat("crypt $", name, "$");
}

absl::StatusOr<bool> VerifyHash(const std::string& hash, absl::string_view password) {
  // crypt(5) would end there, and HMAC takes zeros at a key's end for none.
  if (password.find('\0') != absl::string_view::npos) return false;
  const auto [scheme, rest] = Split(hash);
  if (absl::StartsWith(hash, "$argon2id$")) {
    errno = 0;
    if (crypto_pwhash_argon2id_str_verify(hash.c_str(), password.data(), password.size()) == 0) {
      return true;
    }
    if (errno == ENOMEM) {
      return absl::ResourceExhaustedError("not enough memory to check a password");
    }
    return false;
  }
  if (scheme.empty()) {
    if (!BeginsWithAny(hash, CryptNames().front().begins)) return false;
    const absl::StatusOr<std::string> made = Crypt(hash, password);
    if (!made.ok()) return made.status();
    return Equal(*made, hash);
  }
  if (const EVP_MD* const digest = DigestOf(scheme); digest != nullptr) {
    const std::optional<Salted> read = ReadSalted(digest, rest);
    if (!read.has_value()) return false;
    std::string salted = absl::StrCat(password, read->salt);
    unsigned char made[EVP_MAX_MD_SIZE];
    unsigned int octets = 0;
    const bool done = EVP_Digest(salted.data(), salted.size(), made, &octets, digest, nullptr) == 1;
    sodium_memzero(salted.data(), salted.size());
    return done && Equal({reinterpret_cast<const char*>(made), octets}, read->digest);
  }
  if (scheme != "PBKDF2-SHA256") return false;
  const std::optional<Pbkdf2> read = ReadPbkdf2(rest);
  if (!read.has_value()) return false;
  std::string made(read->key.size(), '\0');
  const bool done =
      PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()),
                        reinterpret_cast<const unsigned char*>(read->salt.data()),
                        static_cast<int>(read->salt.size()), static_cast<int>(read->rounds),
                        EVP_sha256(), static_cast<int>(made.size()),
                        reinterpret_cast<unsigned char*>(made.data())) == 1;
  return done && Equal(made, read->key);
}

}  // namespace postern::auth
