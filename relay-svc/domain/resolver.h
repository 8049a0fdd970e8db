// DNS as mail needs it.
#ifndef POSTERN_RELAY_SVC_DOMAIN_RESOLVER_H_
#define POSTERN_RELAY_SVC_DOMAIN_RESOLVER_H_

#include <string>
#include <vector>

#include "boost/asio/ip/address.hpp"
#include "services/async/done.h"

namespace postern::relay {

struct MxRecord {
  int preference = 0;
  // Without the final dot; empty is the root (RFC 7505).
  std::string host;
};

// Thread-safe. Answers on its own thread, in bounded time. Names are A-labels. An empty answer is
// OK: the name is there, its records are not. NOT_FOUND: no such name (NXDOMAIN). UNAVAILABLE: no
// answer (SERVFAIL, time-out, refused, bogus).
class Resolver {
 public:
  virtual ~Resolver() = default;
  virtual void LookUpMx(std::string domain, async::Done<std::vector<MxRecord>> done) = 0;
  // AAAA first.
  virtual void LookUpAddresses(std::string host,
                               async::Done<std::vector<boost::asio::ip::address>> done) = 0;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_RESOLVER_H_
