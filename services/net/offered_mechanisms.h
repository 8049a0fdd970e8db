// Which SASL mechanisms a gateway offers: auth-svc is asked, and its answer kept for half a minute.
#ifndef POSTERN_SERVICES_NET_OFFERED_MECHANISMS_H_
#define POSTERN_SERVICES_NET_OFFERED_MECHANISMS_H_

#include <string>
#include <vector>

#include "boost/asio/awaitable.hpp"
#include "services/clients/answer_table.h"
#include "services/clients/auth_client.h"
#include "services/net/connection.h"
#include "services/protocol/sasl/mechanism_list.h"

namespace postern::net {

// Thread-safe.
class OfferedMechanisms {
 public:
  // `authentication` must outlive it. `hostname`: the gateway's own, which all domains share and
  // which so tells none.
  OfferedMechanisms(clients::AuthenticationClient* authentication, std::string hostname);

  // For a connection whose TLS is up: by the name that the client asked for in its handshake. PLAIN
  // and LOGIN when auth-svc does not say within 5 s.
  boost::asio::awaitable<sasl::MechanismList> For(const Connection& connection);

 private:
  clients::AuthenticationClient* const authentication_;
  const std::string hostname_;
  clients::AnswerTable<const std::vector<std::string>> known_;
};

}  // namespace postern::net

#endif  // POSTERN_SERVICES_NET_OFFERED_MECHANISMS_H_
