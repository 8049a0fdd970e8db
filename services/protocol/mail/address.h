// Mail addresses: RFC 5321 4.1.2 (Mailbox) with RFC 6531 (UTF-8).
#ifndef POSTERN_SERVICES_PROTOCOL_MAIL_ADDRESS_H_
#define POSTERN_SERVICES_PROTOCOL_MAIL_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::mail {

struct Address {
  // Unquoted: `"john doe"@x` has `john doe`. 1 to 64 octets.
  std::string local_part;
  // As written, without a trailing dot; ASCII is lower case. An address literal keeps its brackets.
  // At most 255 octets.
  std::string domain;

  // local-part@domain, the local part quoted where it must be.
  std::string ToString() const;
};

// `text` without angle brackets. INVALID_ARGUMENT says what is wrong. UTF-8 is taken only with
// `allow_utf8`; anything that is not valid UTF-8, a control character, CR, LF or NUL never is.
absl::StatusOr<Address> ParseAddress(absl::string_view text, bool allow_utf8);

// The same in every spelling: ASCII letters lower case in the local part too (ours is
// case-insensitive).
std::string CanonicalLocalPart(absl::string_view local_part);

}  // namespace postern::mail

#endif  // POSTERN_SERVICES_PROTOCOL_MAIL_ADDRESS_H_
