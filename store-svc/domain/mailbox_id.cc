#include "store-svc/domain/mailbox_id.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"

namespace postern::store {

absl::StatusOr<MailboxId> MailboxId::Parse(absl::string_view hexadecimal) {
  if (hexadecimal.size() != 2 * kOctets ||
      !std::all_of(hexadecimal.begin(), hexadecimal.end(), absl::ascii_isxdigit)) {
    return absl::InvalidArgumentError("a mailbox_id is 32 hexadecimal digits");
  }
  return MailboxId(absl::HexStringToBytes(hexadecimal));
}

MailboxId MailboxId::FromOctets(absl::string_view octets) { return MailboxId(std::string(octets)); }

std::string MailboxId::ToString() const { return absl::BytesToHexString(octets_); }

}  // namespace postern::store
