// The header section of a message (RFC 5322), read as it streams by, and what we need of it.
#ifndef POSTERN_SERVICES_PROTOCOL_MAIL_HEADER_H_
#define POSTERN_SERVICES_PROTOCOL_MAIL_HEADER_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::mail {

// Received fields of a message that does not loop, ours included (RFC 5321 6.3; the predecessor's
// limit).
inline constexpr int kMaxReceivedFields = 100;

// WSP of RFC 5234 B.1: what a line begins with that continues the one before it.
inline bool IsBlank(char c) { return c == ' ' || c == '\t'; }
// ftext of RFC 5322 3.6.8: printable ASCII but the colon.
inline bool IsFieldNameOctet(char c) { return c > ' ' && c <= '~' && c != ':'; }
// What is longer is no field: a line has no more (RFC 5322 2.1.1).
inline constexpr size_t kMaxFieldNameOctets = 998;

struct HeaderField {
  absl::string_view name;
  // After the colon, folding CRLFs included, without the final CRLF.
  absl::string_view value;
};

// Fields of the header section at the start of `message` (up to the empty line or the end). Views
// into it. Never fails: the section ends at the first line that is no field (as RFC 5322 readers do
// in practice).
std::vector<HeaderField> ParseHeader(absl::string_view message);

// Every mailbox address (addr-spec) in the value of From, Sender, Reply-To...: names, comments,
// quoted strings, groups and folding are understood. INVALID_ARGUMENT when it can't be read with
// certainty: never a guess.
absl::StatusOr<std::vector<std::string>> ParseAddressList(absl::string_view value);

}  // namespace postern::mail

#endif  // POSTERN_SERVICES_PROTOCOL_MAIL_HEADER_H_
