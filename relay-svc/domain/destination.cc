#include "relay-svc/domain/destination.h"

#include <idn2.h>

#include <memory>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/protocol/mail/address.h"
#include "services/text/utf8.h"

namespace postern::relay {

std::optional<std::string> LiteralOf(absl::string_view destination) {
  if (!absl::ConsumePrefix(&destination, "[") || !absl::ConsumeSuffix(&destination, "]")) {
    return std::nullopt;
  }
  if (absl::StartsWithIgnoreCase(destination, "ipv6:")) destination.remove_prefix(5);
  return std::string(destination);
}

absl::StatusOr<std::string> DestinationOf(absl::string_view domain) {
  if (domain.empty()) return absl::InvalidArgumentError("no domain");
  if (text::IsAscii(domain)) {
    if (domain.size() > 253) return absl::InvalidArgumentError("the domain is too long");
    return absl::AsciiStrToLower(domain);
  }
  char* ascii = nullptr;
  const int error =
      idn2_to_ascii_8z(std::string(domain).c_str(), &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
  if (error != IDN2_OK) {
    return absl::InvalidArgumentError(absl::StrCat("domain: ", idn2_strerror(error)));
  }
  std::unique_ptr<char, void (*)(void*)> owned(ascii, idn2_free);
  return absl::AsciiStrToLower(ascii);
}

std::string ForAsciiHosts(absl::string_view address) {
  if (text::IsAscii(address)) return std::string(address);
  absl::StatusOr<mail::Address> parsed = mail::ParseAddress(address, /*allow_utf8=*/true);
  if (!parsed.ok() || !text::IsAscii(parsed->local_part)) return std::string(address);
  absl::StatusOr<std::string> domain = DestinationOf(parsed->domain);
  if (!domain.ok()) return std::string(address);
  parsed->domain = *std::move(domain);
  return parsed->ToString();
}

}  // namespace postern::relay
