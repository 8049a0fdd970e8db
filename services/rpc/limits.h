// What bounds an RPC's messages, on both ends.
#ifndef POSTERN_SERVICES_RPC_LIMITS_H_
#define POSTERN_SERVICES_RPC_LIMITS_H_

namespace postern::rpc {

// The largest message either end takes: a body of 256 KiB with its envelope (100 recipients and
// more).
inline constexpr int kMaxRpcMessageOctets = 1 << 20;

// The most mailboxes that one delivery goes to: all of them are in one commit, which others wait
// for. As many one alias may lead to.
inline constexpr int kMaxMailboxes = 1000;

}  // namespace postern::rpc

#endif  // POSTERN_SERVICES_RPC_LIMITS_H_
