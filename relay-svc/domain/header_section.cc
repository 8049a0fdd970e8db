#include "relay-svc/domain/header_section.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/protocol/mail/header.h"

namespace postern::relay {

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

absl::StatusOr<std::vector<std::string>> ReadOriginators(absl::string_view section) {
  const std::vector<mail::HeaderField> fields = mail::ParseHeader(section);
  // What follows a line that is no field would be header to some readers and body to others; no
  // From may hide there.
  const char* end =
      fields.empty() ? section.data() : fields.back().value.data() + fields.back().value.size() + 2;
  if (end < section.data() + section.size()) {
    return absl::InvalidArgumentError("the header has a line that is no field");
  }
  std::vector<std::string> originators;
  int froms = 0, senders = 0;
  for (const mail::HeaderField& field : fields) {
    const bool from = absl::EqualsIgnoreCase(field.name, "From");
    const bool sender = absl::EqualsIgnoreCase(field.name, "Sender");
    if (!from && !sender) continue;
    froms += from;
    senders += sender;
    absl::StatusOr<std::vector<std::string>> addresses = mail::ParseAddressList(field.value);
    if (!addresses.ok()) return addresses.status();
    if (addresses->empty()) {
      return absl::InvalidArgumentError(absl::StrCat(field.name, " has no address"));
    }
    for (std::string& address : *addresses) originators.push_back(std::move(address));
  }
  // RFC 5322 3.6: one each at most.
  if (froms > 1) return absl::InvalidArgumentError("the header has several From fields");
  if (senders > 1) return absl::InvalidArgumentError("the header has several Sender fields");
  return originators;
}

}  // namespace postern::relay
