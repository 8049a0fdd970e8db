// Addresses that a stranger's DNS must not lead us to: loopback, link-local and private networks.
// Beside a local mail server that trusts 127.0.0.1 they would make an open relay of us, in a
// cluster a way past its edge.
#ifndef POSTERN_RELAY_SVC_SMTP_INNER_ADDRESSES_H_
#define POSTERN_RELAY_SVC_SMTP_INNER_ADDRESSES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "boost/asio/ip/address.hpp"

namespace postern::relay {

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

// What an operator knows of his networks.
struct OwnNetworks {
  // Inner ones where mail may go all the same.
  std::vector<Network> allowed;
  // Where this platform is reached from outside: an MX that leads there makes a loop.
  std::vector<Network> own;
  // Of a NAT64 here, beside the well-known one.
  std::vector<Network> nat64;
};

// What kind of inner address it is ("loopback"), in a word for people; nullptr: one of the
// internet. Forms that stand for an IPv4 address (IPv4-mapped, SIIT, NAT64, 6to4) count as it.
const char* InnerKind(const boost::asio::ip::address& address, const OwnNetworks& networks);

// Whether mail may go to an address that the DNS gave, or that stands in a recipient's domain.
bool MayDeliverTo(const boost::asio::ip::address& address, const OwnNetworks& networks);

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_SMTP_INNER_ADDRESSES_H_
