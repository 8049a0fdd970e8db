#include "services/protocol/mail/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "services/text/utf8.h"

namespace postern::mail {
namespace {

constexpr size_t kMaxLocalPart = 64;  // RFC 5321 4.5.3.1.1
constexpr size_t kMaxDomain = 255;    // RFC 5321 4.5.3.1.2
constexpr size_t kMaxLabel = 63;      // RFC 1035 2.3.4
// RFC 5890 4.2: what a label of 63 octets can stand for.
constexpr size_t kMaxULabel = 252;

bool IsAtext(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
         absl::string_view("!#$%&'*+-/=?^_`{|}~").find(c) != absl::string_view::npos;
}

bool IsEightBit(char c) { return static_cast<unsigned char>(c) >= 0x80; }

// dot-atom, with UTF-8 as in RFC 6531 3.3. That it is UTF-8 is known already.
bool IsDotAtom(absl::string_view text) {
  bool dot = true;
  for (const char c : text) {
    if (c == '.') {
      if (dot) return false;
      dot = true;
    } else if (IsAtext(c) || IsEightBit(c)) {
      dot = false;
    } else {
      return false;
    }
  }
  return !dot;
}

// Characters that mean themselves.
bool IsClean(absl::string_view octets, bool allow_utf8) {
  while (!octets.empty()) {
    const int c = text::TakeCharacter(octets);
    if (c < 0 || text::IsControl(c)) return false;
    if (c >= 0x80 && !allow_utf8) return false;
  }
  return true;
}

bool IsLabel(absl::string_view label) {
  const bool ascii = std::none_of(label.begin(), label.end(), IsEightBit);
  if (label.empty() || label.size() > (ascii ? kMaxLabel : kMaxULabel)) return false;
  if (label.front() == '-' || label.back() == '-') return false;
  while (!label.empty()) {
    const int c = text::TakeCharacter(label);
    // The dots of other scripts: IDNA's mapping would make a label of two (RFC 3490 3.1).
    if (c == 0x3002 || c == 0xFF0E || c == 0xFF61) return false;
    if (c < 0x80 && c != '-' && !absl::ascii_isalnum(static_cast<unsigned char>(c))) return false;
  }
  return true;
}

bool IsDomain(absl::string_view domain) {
  while (true) {
    const size_t dot = domain.find('.');
    if (!IsLabel(domain.substr(0, dot))) return false;
    if (dot == absl::string_view::npos) return true;
    domain.remove_prefix(dot + 1);
  }
}

// RFC 5321 4.1.3; general address literals have no standardized tag but IPv6.
bool IsAddressLiteral(absl::string_view domain) {
  if (!absl::ConsumePrefix(&domain, "[") || !absl::ConsumeSuffix(&domain, "]")) return false;
  const int family = absl::StartsWithIgnoreCase(domain, "IPv6:") ? AF_INET6 : AF_INET;
  if (family == AF_INET6) domain.remove_prefix(5);
  unsigned char address[sizeof(in6_addr)];
  return inet_pton(family, std::string(domain).c_str(), address) == 1;
}

// Takes a quoted-string (RFC 5321 4.1.2) off the front of `text`.
bool TakeQuotedString(absl::string_view& text, std::string& content) {
  for (size_t i = 1; i < text.size(); ++i) {
    char c = text[i];
    if (c == '"') {
      text.remove_prefix(i + 1);
      return true;
    }
    if (c == '\\') {
      if (++i == text.size() || IsEightBit(text[i])) return false;
      c = text[i];
    }
    content.push_back(c);
  }
  return false;
}

absl::Status Invalid(absl::string_view what) { return absl::InvalidArgumentError(what); }

}  // namespace

std::string Address::ToString() const {
  if (IsDotAtom(local_part)) return absl::StrCat(local_part, "@", domain);
  std::string text = "\"";
  for (const char c : local_part) {
    if (c == '"' || c == '\\') text.push_back('\\');
    text.push_back(c);
  }
  absl::StrAppend(&text, "\"@", domain);
  return text;
}

absl::StatusOr<Address> ParseAddress(absl::string_view text, bool allow_utf8) {
  if (!IsClean(text, allow_utf8)) return Invalid("a character that no address has");
  Address address;
  absl::string_view rest = text;
  if (absl::StartsWith(text, "\"")) {
    if (!TakeQuotedString(rest, address.local_part)) return Invalid("quoted local part has no end");
    if (!absl::ConsumePrefix(&rest, "@")) return Invalid("no @ after the local part");
  } else {
    const size_t at = text.find('@');
    if (at == absl::string_view::npos) return Invalid("no @");
    address.local_part = std::string(text.substr(0, at));
    rest.remove_prefix(at + 1);
    if (!IsDotAtom(address.local_part)) return Invalid("local part is no dot-atom");
  }
  if (address.local_part.empty()) return Invalid("local part is empty");
  if (address.local_part.size() > kMaxLocalPart) return Invalid("local part is over 64 octets");

  if (rest.size() > kMaxDomain + 1) return Invalid("domain is over 255 octets");
  if (absl::StartsWith(rest, "[")) {
    if (!IsAddressLiteral(rest)) return Invalid("address literal is neither IPv4 nor IPv6");
  } else {
    absl::ConsumeSuffix(&rest, ".");
    if (!IsDomain(rest)) return Invalid("domain is no domain name");
  }
  if (rest.size() > kMaxDomain) return Invalid("domain is over 255 octets");
  address.domain = absl::AsciiStrToLower(rest);
  return address;
}

std::string CanonicalLocalPart(absl::string_view local_part) {
  return absl::AsciiStrToLower(local_part);
}

}  // namespace postern::mail
