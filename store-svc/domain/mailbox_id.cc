#include "store-svc/domain/mailbox_id.h"

#include <charconv>
#include <cstdint>

#include "absl/strings/escaping.h"

namespace postern::store {
namespace {

absl::Status Malformed() {
  return absl::InvalidArgumentError("a mailbox_id is 32 hexadecimal digits");
}

}  // namespace

absl::StatusOr<MailboxId> MailboxId::Parse(absl::string_view hexadecimal) {
  if (hexadecimal.size() != 2 * kOctets) return Malformed();
  std::string octets;
  for (const char* digits = hexadecimal.data(); octets.size() < kOctets; digits += 2) {
    uint8_t octet = 0;
    if (std::from_chars(digits, digits + 2, octet, 16).ptr != digits + 2) return Malformed();
    octets.push_back(static_cast<char>(octet));
  }
  return MailboxId(std::move(octets));
}

MailboxId MailboxId::FromOctets(absl::string_view octets) { return MailboxId(std::string(octets)); }

std::string MailboxId::ToString() const { return absl::BytesToHexString(octets_); }

}  // namespace postern::store
