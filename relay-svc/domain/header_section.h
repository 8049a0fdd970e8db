// What relay-svc reads of a message: its header section.
#ifndef POSTERN_RELAY_SVC_DOMAIN_HEADER_SECTION_H_
#define POSTERN_RELAY_SVC_DOMAIN_HEADER_SECTION_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace postern::relay {

// A submitted message must have all of its header in its first 256 KiB.
inline constexpr size_t kMaxHeaderOctets = 256 << 10;

// Up to and with the last line before the empty one; all of `message` when there is no empty line.
absl::string_view HeaderSectionOf(absl::string_view message);

// True once `start` (the first octets of a message) holds the whole header section: the empty line
// has been seen.
bool HasWholeHeader(absl::string_view start);

// Received fields (RFC 5321 6.3: over 100 is a loop).
int CountReceived(absl::string_view message);

// The header of a submitted message (RFC 6409 6.1 and 8).
struct SubmittedHeader {
  // Every address in From and Sender: all must be the user's (requirement R9).
  std::vector<std::string> originators;
  bool has_date = false;
  bool has_message_id = false;
};

// `section` as HeaderSectionOf gives it. INVALID_ARGUMENT: a line that is no field, no From or more
// than one, more than one Sender, or addresses that can't be read with certainty.
absl::StatusOr<SubmittedHeader> ReadSubmittedHeader(absl::string_view section);

// RFC 6409 8.2 and 8.3: the Date and Message-ID that `header` lacks, as whole lines.
std::string MissingFields(const SubmittedHeader& header, absl::Time now, absl::string_view unique,
                          absl::string_view hostname);

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_HEADER_SECTION_H_
