// Tests only: DNS as a table.
#ifndef POSTERN_RELAY_SVC_DOMAIN_FAKE_RESOLVER_H_
#define POSTERN_RELAY_SVC_DOMAIN_FAKE_RESOLVER_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "relay-svc/domain/resolver.h"

namespace postern::relay {

// Filled before use; then thread-safe. Answers on the caller's thread. What stands nowhere does not
// exist.
class FakeResolver : public Resolver {
 public:
  using Addresses = std::vector<boost::asio::ip::address>;
  std::map<std::string, absl::StatusOr<std::vector<MxRecord>>> mx;
  std::map<std::string, absl::StatusOr<Addresses>> addresses;

  void AddAddress(const std::string& host, const std::string& address) {
    absl::StatusOr<Addresses>& all = addresses.try_emplace(host, Addresses()).first->second;
    all->push_back(boost::asio::ip::make_address(address));
  }

  void LookUpMx(std::string domain, async::Done<std::vector<MxRecord>> done) override {
    const auto found = mx.find(domain);
    if (found != mx.end()) {
      done(found->second);
    } else if (addresses.count(domain) > 0) {
      done(std::vector<MxRecord>());
    } else {
      done(absl::NotFoundError("no such name"));
    }
  }
  void LookUpAddresses(std::string host, async::Done<Addresses> done) override {
    const auto found = addresses.find(host);
    done(found != addresses.end() ? found->second : absl::NotFoundError("no such name"));
  }
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_FAKE_RESOLVER_H_
