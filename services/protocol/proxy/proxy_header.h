// The PROXY protocol (haproxy.org/download/2.9/doc/proxy-protocol.txt), versions 1 and 2: who the
// client is when a load balancer stands before a listener. Sans I/O; the receiver's side.
#ifndef POSTERN_SERVICES_PROTOCOL_PROXY_PROXY_HEADER_H_
#define POSTERN_SERVICES_PROTOCOL_PROXY_PROXY_HEADER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>

#include "absl/strings/string_view.h"

namespace postern::proxy {

struct Endpoint {
  // As inet_ntop writes it; an IPv4-mapped IPv6 address as IPv4.
  std::string address;
  uint16_t port = 0;
};

struct Header {
  // How many octets of the input it was; what follows is the client's.
  size_t octets = 0;
  // LOCAL, UNKNOWN and UNSPEC (a health check of the balancer's own, for one): the connection's own
  // endpoints count, and those here are empty.
  bool local = false;
  Endpoint source;
  Endpoint destination;
};

// Give the same octets again with more after them. As many as `more` can be read without taking one
// that is the client's: what comes behind the header may be a TLS handshake, which is not ours.
struct Incomplete {
  size_t more = 1;
};
// No PROXY header: close the connection without a word (section 2: the receiver must not guess
// whether there is a header).
struct Malformed {
  // For the log.
  absl::string_view why;
};

// More than this is never wanted: version 1 has at most 107 octets, version 2 a 16 bit length, of
// which we take the addresses and up to 2 KiB of TLVs (skipped).
inline constexpr size_t kMaxHeaderOctets = 16 + 216 + 2048;

// Reads the header at the start of `input`. What is wrong is told as early as can be known, so that
// a client that speaks something else never makes its listener wait.
std::variant<Header, Incomplete, Malformed> ParseHeader(absl::string_view input);

// Whether `input` begins with what every header of a version begins with.
bool HasSignature(absl::string_view input);

}  // namespace postern::proxy

#endif  // POSTERN_SERVICES_PROTOCOL_PROXY_PROXY_HEADER_H_
