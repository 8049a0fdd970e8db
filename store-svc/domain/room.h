// Whether a mailbox takes a message: what a quota means to one mailbox, and to the members of an
// alias (docs/adr/0031).
#ifndef POSTERN_STORE_SVC_DOMAIN_ROOM_H_
#define POSTERN_STORE_SVC_DOMAIN_ROOM_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace postern::store {

// Every mailbox's, unless it has its own.
struct Quota {
  uint64_t messages = 0;
  uint64_t octets = 0;
};

enum class Room {
  kFree,
  // It holds its quota of messages or octets.
  kFull,
  // Twice that.
  kTwiceFull,
};

// Of the mailboxes that one recipient of the envelope leads to, in their order: who refuses the
// message, and so the recipient. One that is full refuses for itself; among several a full one is
// no hindrance until all of them are full, or one holds twice its quota.
inline std::vector<bool> WhoRefuses(absl::Span<const Room> mailboxes) {
  const bool one_has_room = std::any_of(mailboxes.begin(), mailboxes.end(),
                                        [](Room room) { return room == Room::kFree; });
  std::vector<bool> refuses;
  refuses.reserve(mailboxes.size());
  for (const Room room : mailboxes) {
    refuses.push_back(room == Room::kTwiceFull || (room == Room::kFull && !one_has_room));
  }
  return refuses;
}

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_DOMAIN_ROOM_H_
