// Addresses that a stranger's DNS must not lead us to: loopback, link-local and private networks.
// Beside a local mail server that trusts 127.0.0.1 they would make an open relay of us, in a
// cluster a way past its edge.
#ifndef POSTERN_RELAY_SVC_SMTP_INNER_ADDRESSES_H_
#define POSTERN_RELAY_SVC_SMTP_INNER_ADDRESSES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "boost/asio/ip/address.hpp"

namespace postern::relay {

// "10.1.0.0/16", "fd00::/8", or an address alone.
class Network {
 public:
  // INVALID_ARGUMENT: not of this form, or with bits set behind the prefix.
  static absl::StatusOr<Network> Parse(absl::string_view text);
  bool Contains(const boost::asio::ip::address& address) const;

 private:
  boost::asio::ip::address base_;
  int prefix_ = 0;
};

// What kind of inner address it is ("loopback"), in a word for people; nullptr: one of the
// internet. IPv4-mapped, NAT64 and 6to4 forms count as the IPv4 address that they stand for.
const char* InnerKind(const boost::asio::ip::address& address);

// Whether mail may go to an address that the DNS gave, or that stands in a recipient's domain.
bool MayDeliverTo(const boost::asio::ip::address& address, absl::Span<const Network> allowed);

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_SMTP_INNER_ADDRESSES_H_
