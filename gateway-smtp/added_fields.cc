#include "gateway-smtp/added_fields.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace postern::gateway_smtp {
namespace {

// RFC 5321 4.5.3.1.2 and 4.5.3.1.3, with the @.
constexpr size_t kMaxDomainOctets = 255;
constexpr size_t kMaxAddressOctets = 320;
// "TLSv1.3 TLS_AES_256_GCM_SHA384" and longer ones of TLS 1.2.
constexpr size_t kMaxTlsOctets = 100;

// A domain or an address literal; any other octet shows as "?".
std::string Harmless(absl::string_view text) {
  std::string out(text.substr(0, kMaxDomainOctets));
  for (char& c : out) {
    if (!absl::ascii_isalnum(c) && c != '-' && c != '.' && c != '_' && c != ':' && c != '[' &&
        c != ']') {
      c = '?';
    }
  }
  return out;
}

// RFC 5321 4.1.3.
std::string AddressLiteral(absl::string_view address) {
  return absl::StrCat(absl::StrContains(address, ':') ? "[IPv6:" : "[", Harmless(address), "]");
}

// Between angle brackets and outside of quotes: quoted local parts and the like are left out, as
// the field may do without. So are addresses beyond ASCII: the field must not be the only thing in
// a message that makes it need SMTPUTF8 (RFC 6531) at the next hop.
bool IsPlainAddress(absl::string_view address) {
  if (address.empty() || address.size() > kMaxAddressOctets) return false;
  return std::all_of(address.begin(), address.end(), [](unsigned char c) {
    return c > 0x20 && c < 0x7f && c != '<' && c != '>' && c != '(' && c != ')' && c != '"' &&
           c != '\\' && c != ';' && c != ',';
  });
}

// RFC 5322 3.3. Formatting it takes longer than the rest of a Received field, and many messages
// come in one second.
std::string DateTime(absl::Time time) {
  thread_local int64_t second = -1;
  thread_local std::string text;
  const int64_t now = absl::ToUnixSeconds(time);
  if (now != second) {
    text = absl::FormatTime("%a, %d %b %Y %H:%M:%S +0000", time, absl::UTCTimeZone());
    second = now;
  }
  return text;
}

}  // namespace

std::string MakeReceived(const ReceivedParts& parts) {
  const std::string literal = AddressLiteral(parts.client_address);
  std::string field = absl::StrCat(
      "Received: from ", parts.helo.empty() ? literal : Harmless(parts.helo), " (", literal,
      ")\r\n\tby ", Harmless(parts.hostname), " with ", Harmless(parts.protocol));
  if (!parts.tls.empty()) {
    std::string tls(parts.tls.substr(0, kMaxTlsOctets));
    std::replace_if(
        tls.begin(), tls.end(),
        [](unsigned char c) { return !absl::ascii_isalnum(c) && c != '_' && c != '-' && c != '.'; },
        ' ');
    absl::StrAppend(&field, " (", tls, ")");
  }
  absl::StrAppend(&field, "\r\n\tid ", Harmless(parts.id));
  if (IsPlainAddress(parts.recipient)) {
    absl::StrAppend(&field, "\r\n\tfor <", parts.recipient, ">");
  }
  absl::StrAppend(&field, ";\r\n\t", DateTime(parts.time), "\r\n");
  return field;
}

std::string MakeDate(absl::Time time) { return absl::StrCat("Date: ", DateTime(time), "\r\n"); }

std::string MakeMessageId(absl::string_view id, absl::string_view sender,
                          absl::string_view hostname) {
  const size_t at = sender.rfind('@');
  absl::string_view domain = at == absl::string_view::npos ? "" : sender.substr(at + 1);
  if (domain.empty() || Harmless(domain) != domain) domain = hostname;
  return absl::StrCat("Message-ID: <", Harmless(id), "@", Harmless(domain), ">\r\n");
}

}  // namespace postern::gateway_smtp
