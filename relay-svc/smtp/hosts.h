// What is known of the hosts that mail goes to, by address: how many sessions each has, whether it
// was silent of late, whether its STARTTLS is broken.
#ifndef POSTERN_RELAY_SVC_SMTP_HOSTS_H_
#define POSTERN_RELAY_SVC_SMTP_HOSTS_H_

#include <chrono>
#include <cstddef>
#include <functional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "boost/asio/ip/address.hpp"

namespace postern::relay {

// One thread. Bounded: hosts of which nothing is to be remembered are forgotten.
class Hosts {
 public:
  using Address = boost::asio::ip::address;
  using Time = std::chrono::steady_clock::time_point;

  struct Limits {
    int sessions_per_host = 10;
    // A host that was silent is left alone for so long, for all its domains; then one session
    // probes it.
    std::chrono::seconds silence{300};
    // STARTTLS that broke is not tried again for so long.
    std::chrono::seconds broken_tls{3600};
    size_t most = 10000;
  };
  // kBusy: as many sessions as it may have; when one has left, ask again.
  enum class Admission { kYes, kSilent, kBusy };

  explicit Hosts(const Limits& limits) : limits_(limits) {}

  // kYes counts a session, until Leave.
  Admission Enter(const Address& address, Time now);
  // `silent`: it did not take the connection, or did not greet, in time.
  void Leave(const Address& address, bool silent, Time now);

  void NoteBrokenTls(const Address& address, Time now);
  bool HasBrokenTls(const Address& address, Time now) const;

 private:
  struct Host {
    int sessions = 0;
    // Epoch: it was not.
    Time silent_until{};
    Time broken_tls_until{};
  };

  void ForgetSome(Time now);

  const Limits limits_;
  absl::flat_hash_map<Address, Host, std::hash<Address>> hosts_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_SMTP_HOSTS_H_
