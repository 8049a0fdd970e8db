#include "auth-svc/domain/canonical.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/protocol/mail/address.h"
#include "services/text/idna.h"
#include "services/text/utf8.h"

namespace postern::auth {
namespace {

constexpr size_t kMaxDomainOctets = 255;
constexpr size_t kMaxNameOctets = 253;
constexpr size_t kMaxLabelOctets = 63;

// For an error: what was typed, printable and short.
std::string Shown(absl::string_view text) {
  return absl::StrCat("\"", absl::Utf8SafeCEscape(text.substr(0, 100)), "\"");
}

bool IsHostName(absl::string_view name) {
  if (name.empty() || name.size() > kMaxNameOctets) return false;
  for (absl::string_view label : absl::StrSplit(name, '.')) {
    if (label.empty() || label.size() > kMaxLabelOctets) return false;
    if (label.front() == '-' || label.back() == '-') return false;
    for (char c : label) {
      if (!absl::ascii_islower(c) && !absl::ascii_isdigit(c) && c != '-') return false;
    }
  }
  return true;
}

}  // namespace

std::string Address::ToString() const {
  if (local_part.empty()) return absl::StrCat("@", domain);
  return mail::Address{local_part, domain}.ToString();
}

absl::StatusOr<std::string> CanonicalDomain(absl::string_view text) {
  if (text.empty() || text.size() > kMaxDomainOctets ||
      text.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(Shown(text), " is no domain name: expected one like example.test"));
  }
  if (text.back() == '.') text.remove_suffix(1);
  std::string name = absl::AsciiStrToLower(text);
  if (!text::IsAscii(name) || absl::StartsWith(name, "xn--") || absl::StrContains(name, ".xn--")) {
    // For A-labels this checks that they decode and are what their U-labels encode to.
    absl::StatusOr<std::string> a_labels = text::ToALabels(name);
    if (!a_labels.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          Shown(text), " is no internationalised domain name: ", a_labels.status().message()));
    }
    name = *std::move(a_labels);
  }
  if (!IsHostName(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat(Shown(text),
                     " is no domain name: expected labels of letters, digits and hyphens, "
                     "separated by dots"));
  }
  return name;
}

absl::StatusOr<Address> CanonicalAddress(absl::string_view text) {
  absl::StatusOr<Address> address = ForwardAddress(text);
  if (address.ok()) address->local_part = mail::CanonicalLocalPart(address->local_part);
  return address;
}

absl::StatusOr<Address> CanonicalAliasAddress(absl::string_view text) {
  if (!absl::StartsWith(text, "@")) return CanonicalAddress(text);
  absl::StatusOr<std::string> domain = CanonicalDomain(text.substr(1));
  if (!domain.ok()) return domain.status();
  return Address{"", *std::move(domain)};
}

absl::StatusOr<Address> ForwardAddress(absl::string_view text) {
  absl::StatusOr<mail::Address> parsed = mail::ParseAddress(text, /*allow_utf8=*/true);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(Shown(text), " is no mail address: ", parsed.status().message()));
  }
  Address address;
  address.local_part = std::move(parsed->local_part);
  if (address.local_part.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(Shown(text), " is no mail address: there is nothing before the @"));
  }
  if (absl::StartsWith(parsed->domain, "[")) {
    address.domain = std::move(parsed->domain);
    return address;
  }
  // A domain in A-labels stays as it is, valid or not: there are registered ones that today's IDNA
  // refuses, and those of ours were checked when they were added.
  std::string ascii = absl::AsciiStrToLower(absl::StripSuffix(parsed->domain, "."));
  if (IsHostName(ascii)) {
    address.domain = std::move(ascii);
    return address;
  }
  absl::StatusOr<std::string> domain = CanonicalDomain(parsed->domain);
  if (!domain.ok()) return domain.status();
  address.domain = *std::move(domain);
  return address;
}

}  // namespace postern::auth
