#include "relay-svc/domain/header_section.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "services/clients/content_fault.h"
#include "services/protocol/mail/header.h"
#include "services/text/utf8.h"

namespace postern::relay {
namespace {

using clients::ContentFaultError;
using v1::ContentFault;

struct OriginatorField {
  absl::string_view name;
  // RFC 5322 3.6: at most one. A message may be resent several times, each time with fields of its
  // own.
  bool once;
};

constexpr std::array<OriginatorField, 4> kOriginatorFields = {
    {{"From", true}, {"Sender", true}, {"Resent-From", false}, {"Resent-Sender", false}}};

}  // namespace

absl::string_view HeaderSectionOf(absl::string_view message) {
  if (absl::StartsWith(message, "\r\n")) return message.substr(0, 0);
  const size_t end = message.find("\r\n\r\n");
  return end == absl::string_view::npos ? message : message.substr(0, end + 2);
}

bool HasWholeHeader(absl::string_view start) {
  return absl::StartsWith(start, "\r\n") || absl::StrContains(start, "\r\n\r\n");
}

int CountReceived(absl::string_view message) {
  int count = 0;
  for (const mail::HeaderField& field : mail::ParseHeader(message)) {
    if (absl::EqualsIgnoreCase(field.name, "Received")) ++count;
  }
  return count;
}

int HopsThroughHere(absl::string_view section) {
  std::string here;
  int hops = 0;
  for (const mail::HeaderField& field : mail::ParseHeader(section)) {
    if (!absl::EqualsIgnoreCase(field.name, "Received")) continue;
    const std::vector<absl::string_view> words =
        absl::StrSplit(field.value, absl::ByAnyChar(" \t\r\n;"), absl::SkipEmpty());
    const auto by = std::find_if(words.begin(), words.end(), [](absl::string_view word) {
      return absl::EqualsIgnoreCase(word, "by");
    });
    if (by == words.end() || by + 1 == words.end()) continue;
    if (here.empty()) here = std::string(by[1].data(), by[1].size());
    if (absl::EqualsIgnoreCase(by[1], here)) ++hops;
  }
  return hops;
}

absl::StatusOr<Originators> ReadOriginators(absl::string_view section) {
  const std::vector<mail::HeaderField> fields = mail::ParseHeader(section);
  // What follows a line that is no field would be header to some readers and body to others; no
  // From may hide there.
  const char* end =
      fields.empty() ? section.data() : fields.back().value.data() + fields.back().value.size() + 2;
  if (end < section.data() + section.size()) return ContentFaultError(ContentFault::KIND_NO_FIELD);
  Originators originators;
  std::array<int, kOriginatorFields.size()> seen{};
  for (const mail::HeaderField& field : fields) {
    const auto* const known =
        std::find_if(kOriginatorFields.begin(), kOriginatorFields.end(),
                     [&](const auto& one) { return absl::EqualsIgnoreCase(field.name, one.name); });
    if (known == kOriginatorFields.end()) continue;
    if (++seen[known - kOriginatorFields.begin()] > 1 && known->once) {
      return ContentFaultError(ContentFault::KIND_REPEATED, known->name);
    }
    if (!text::IsUtf8(field.value)) {
      return ContentFaultError(ContentFault::KIND_NOT_UTF8, known->name);
    }
    absl::StatusOr<std::vector<std::string>> addresses = mail::ParseAddressList(field.value);
    if (!addresses.ok()) return ContentFaultError(ContentFault::KIND_UNREADABLE, known->name);
    if (addresses->empty()) return ContentFaultError(ContentFault::KIND_NO_ADDRESS, known->name);
    for (std::string& address : *addresses) originators.addresses.push_back(std::move(address));
  }
  originators.from = seen[0] > 0;
  return originators;
}

}  // namespace postern::relay
