#include "auth-svc/domain/srs.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstdint>
#include <cstdlib>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/protocol/mail/address.h"

namespace postern::auth {
namespace {

constexpr size_t kMaxLocalPart = 64;
constexpr absl::string_view kSrs0 = "SRS0";
constexpr absl::string_view kSrs1 = "SRS1";
// 30 bits: a guess costs a RCPT to us, and what it gains is a way for null senders to one address.
constexpr size_t kHashDigits = 6;
constexpr size_t kTimeDigits = 2;
// What two digits count; then the days begin again.
constexpr int64_t kDays = 1024;
constexpr int64_t kMaxAge = 21;
constexpr absl::string_view kBase32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

// `form`: kSrs0 or kSrs1, whose contents are not the same for the same octets. The way back may
// have changed the case of letters.
std::string Hash(absl::string_view key, absl::string_view form, absl::string_view contents) {
  const std::string text = absl::AsciiStrToLower(absl::StrCat(form, "=", contents));
  unsigned char mac[EVP_MAX_MD_SIZE];
  unsigned int size = sizeof mac;
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
           reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac,
           &size) == nullptr) {
    std::abort();  // Out of memory: nothing here can be trusted then.
  }
  uint32_t bits = uint32_t{mac[0]} << 24 | uint32_t{mac[1]} << 16 | uint32_t{mac[2]} << 8 | mac[3];
  std::string digits;
  for (size_t i = 0; i < kHashDigits; ++i, bits <<= 5) digits.push_back(kBase32[bits >> 27]);
  return absl::AsciiStrToLower(digits);
}

int64_t Today(absl::Time now) { return absl::ToInt64Hours(now - absl::UnixEpoch()) / 24 % kDays; }

std::string TimeDigits(int64_t day) { return {kBase32[day / 32], kBase32[day % 32]}; }

bool IsFresh(absl::string_view digits, absl::Time now) {
  int64_t day = 0;
  for (const char c : digits) {
    const size_t digit = kBase32.find(absl::ascii_toupper(static_cast<unsigned char>(c)));
    if (digit == absl::string_view::npos) return false;
    day = 32 * day + static_cast<int64_t>(digit);
  }
  const int64_t age = (Today(now) - day + kDays) % kDays;
  // Of tomorrow: another replica's clock.
  return age <= kMaxAge || age == kDays - 1;
}

// What stands before the next '=', which goes too; nullopt: there is none.
std::optional<absl::string_view> TakeField(absl::string_view& text) {
  const size_t end = text.find('=');
  if (end == absl::string_view::npos) return std::nullopt;
  const absl::string_view field = text.substr(0, end);
  text.remove_prefix(end + 1);
  return field;
}

// Takes "SRS0=" or so off the front; others' have '+' and '-' there, too.
bool TakeForm(absl::string_view& local_part, absl::string_view form, bool ours) {
  if (!absl::StartsWithIgnoreCase(local_part, form) || local_part.size() == form.size()) {
    return false;
  }
  const char separator = local_part[form.size()];
  if (separator != '=' && (ours || (separator != '+' && separator != '-'))) return false;
  local_part.remove_prefix(form.size() + 1);
  return true;
}

// "local-part@domain", when that is an address.
std::optional<std::string> AddressText(absl::string_view local_part, absl::string_view domain) {
  const std::string text = mail::Address{std::string(local_part), std::string(domain)}.ToString();
  if (!mail::ParseAddress(text, /*allow_utf8=*/false).ok()) return std::nullopt;
  return text;
}

// Whom "DOMAIN=REST" of an SRS1 address leads to: an SRS0 address, the first forwarder's.
std::optional<std::string> FirstForwarders(absl::string_view contents) {
  const std::optional<absl::string_view> domain = TakeField(contents);
  if (!domain.has_value() || contents.empty() ||
      absl::string_view("=+-").find(contents.front()) == absl::string_view::npos) {
    return std::nullopt;
  }
  return AddressText(absl::StrCat(kSrs0, contents), *domain);
}

// An SRS1 address has no place for a time: the day goes into the hash alone, and the way back tries
// each that counts.
std::string HashOfDay(absl::string_view key, int64_t day, absl::string_view contents) {
  return Hash(key, kSrs1, absl::StrCat(TimeDigits(day), "=", contents));
}

std::string WithHash(absl::string_view form, absl::string_view hash, absl::string_view contents,
                     absl::string_view domain) {
  return mail::Address{absl::StrCat(form, "=", hash, "=", contents), std::string(domain)}
      .ToString();
}

// Of an SRS1 address of another's.
std::optional<std::string> Srs1Contents(absl::string_view local_part) {
  if (!TakeForm(local_part, kSrs1, /*ours=*/false) || !TakeField(local_part).has_value() ||
      !FirstForwarders(local_part).has_value()) {
    return std::nullopt;
  }
  return std::string(local_part);
}

}  // namespace

std::string RewriteSender(absl::string_view sender, absl::string_view alias_domain,
                          absl::string_view key, absl::Time now) {
  const absl::StatusOr<mail::Address> parsed = mail::ParseAddress(sender, /*allow_utf8=*/false);
  if (!parsed.ok()) return std::string(sender);
  absl::string_view rest = parsed->local_part;
  std::optional<std::string> others = Srs1Contents(rest);
  if (!others.has_value() && TakeForm(rest, kSrs0, /*ours=*/false)) {
    others = absl::StrCat(parsed->domain, "=", parsed->local_part.substr(kSrs0.size()));
  }
  std::string rewritten;
  if (others.has_value()) {
    rewritten = WithHash(kSrs1, HashOfDay(key, Today(now), *others), *others, alias_domain);
  } else {
    const std::string contents =
        absl::StrCat(TimeDigits(Today(now)), "=", parsed->domain, "=", parsed->local_part);
    rewritten = WithHash(kSrs0, Hash(key, kSrs0, contents), contents, alias_domain);
  }
  // With its quotes, which are part of what is sent.
  const size_t local_part = rewritten.size() - alias_domain.size() - 1;
  return local_part > kMaxLocalPart ? std::string(sender) : rewritten;
}

std::optional<std::string> OriginalSender(absl::string_view local_part, absl::string_view key,
                                          absl::Time now) {
  if (local_part.size() > kMaxLocalPart) return std::nullopt;
  absl::string_view contents = local_part;
  const bool first = TakeForm(contents, kSrs0, /*ours=*/true);
  if (!first && !TakeForm(contents, kSrs1, /*ours=*/true)) return std::nullopt;
  const std::optional<absl::string_view> hash = TakeField(contents);
  if (!hash.has_value() || hash->size() != kHashDigits) return std::nullopt;
  const std::string given = absl::AsciiStrToLower(*hash);
  const auto is = [&](const std::string& wanted) {
    return CRYPTO_memcmp(given.data(), wanted.data(), kHashDigits) == 0;
  };
  if (!first) {
    // From tomorrow's, another replica's.
    for (int64_t age = -1; age <= kMaxAge; ++age) {
      if (is(HashOfDay(key, (Today(now) - age + kDays) % kDays, contents))) {
        return FirstForwarders(contents);
      }
    }
    return std::nullopt;
  }
  if (!is(Hash(key, kSrs0, contents))) return std::nullopt;
  const std::optional<absl::string_view> time = TakeField(contents);
  if (!time.has_value() || time->size() != kTimeDigits || !IsFresh(*time, now)) {
    return std::nullopt;
  }
  const std::optional<absl::string_view> domain = TakeField(contents);
  if (!domain.has_value()) return std::nullopt;
  return AddressText(contents, *domain);
}

}  // namespace postern::auth
