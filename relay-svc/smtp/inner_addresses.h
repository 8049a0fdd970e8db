// Addresses that a stranger's DNS must not lead us to: loopback, link-local and private networks.
// Beside a local mail server that trusts 127.0.0.1 they would make an open relay of us, in a
// cluster a way past its edge.
#ifndef POSTERN_RELAY_SVC_SMTP_INNER_ADDRESSES_H_
#define POSTERN_RELAY_SVC_SMTP_INNER_ADDRESSES_H_

#include <string>
#include <vector>

#include "boost/asio/ip/address.hpp"
#include "services/net/network.h"

namespace postern::relay {

using net::Network;

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
