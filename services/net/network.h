// Networks as operators write them.
#ifndef POSTERN_SERVICES_NET_NETWORK_H_
#define POSTERN_SERVICES_NET_NETWORK_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "boost/asio/ip/address.hpp"

namespace postern::net {

// "10.1.0.0/16", "fd00::/8", or an address alone.
class Network {
 public:
  // INVALID_ARGUMENT: not of this form, or with bits set behind the prefix.
  static absl::StatusOr<Network> Parse(absl::string_view text);
  // As Parse, of the prefix of a NAT64: IPv6, of a length that RFC 6052 2.2 has.
  static absl::StatusOr<Network> ParseNat64(absl::string_view text);
  bool Contains(const boost::asio::ip::address& address) const;
  // Bits.
  int prefix() const { return prefix_; }

 private:
  boost::asio::ip::address base_;
  int prefix_ = 0;
};

}  // namespace postern::net

#endif  // POSTERN_SERVICES_NET_NETWORK_H_
