// What relay-svc reads of a message: its header section.
#ifndef POSTERN_RELAY_SVC_DOMAIN_HEADER_SECTION_H_
#define POSTERN_RELAY_SVC_DOMAIN_HEADER_SECTION_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::relay {

// A submitted message must have all of its header in its first 256 KiB.
inline constexpr size_t kMaxHeaderOctets = 256 << 10;

// Up to and with the last line before the empty one; all of `message` when there is no empty line.
absl::string_view HeaderSectionOf(absl::string_view message);

// True once `start` (the first octets of a message) holds the whole header section: the empty line
// has been seen.
bool HasWholeHeader(absl::string_view start);

// Received fields (mail::kMaxReceivedFields).
int CountReceived(absl::string_view message);

// How often a message has come by the host that wrote the first Received field, this time included:
// by how many of them name it behind "by" (RFC 5321 4.4).
int HopsThroughHere(absl::string_view section);
// More often, and it is in a loop. An alias that sends on, and comes back to another here, is none.
inline constexpr int kMaxHopsThroughHere = 5;

struct Originators {
  // Of From, Sender, Resent-From and Resent-Sender.
  std::vector<std::string> addresses;
  // There is a From.
  bool from = false;
};

// Every address in the fields of a submitted message that say who sends it: all must be the user's
// (requirement R9, RFC 6409 6.1). `section` as HeaderSectionOf gives it. INVALID_ARGUMENT with a
// ContentFault: a line that is no field, more than one From or Sender, or addresses that can't be
// read with certainty.
absl::StatusOr<Originators> ReadOriginators(absl::string_view section);

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_HEADER_SECTION_H_
