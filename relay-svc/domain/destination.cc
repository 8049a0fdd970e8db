#include "relay-svc/domain/destination.h"

#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/protocol/mail/address.h"
#include "services/text/idna.h"
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
  absl::StatusOr<std::string> a_labels = text::ToALabels(domain);
  if (!a_labels.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("domain: ", a_labels.status().message()));
  }
  return a_labels;
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
