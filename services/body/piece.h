// How much of a message's body is handled at once: no part of the platform holds or sends more.
#ifndef POSTERN_SERVICES_BODY_PIECE_H_
#define POSTERN_SERVICES_BODY_PIECE_H_

#include <cstddef>

namespace postern {

// The largest piece of a body: in one message of an RPC, in one row of a database. A body that is
// no larger goes whole.
inline constexpr size_t kMaxPieceOctets = 256 << 10;

}  // namespace postern

#endif  // POSTERN_SERVICES_BODY_PIECE_H_
