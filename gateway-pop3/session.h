// Drives one POP3 session: the engine's actions onto the connection and the services.
#ifndef POSTERN_GATEWAY_POP3_SESSION_H_
#define POSTERN_GATEWAY_POP3_SESSION_H_

#include <chrono>

#include "boost/asio/awaitable.hpp"
#include "services/clients/auth_client.h"
#include "services/clients/store_client.h"
#include "services/net/gateway.h"
#include "services/net/offered_mechanisms.h"
#include "services/protocol/pop3/server_session.h"

namespace postern::gateway_pop3 {

// What all sessions of a listener share; outlives them. Thread-safe by not changing.
struct SessionSetup {
  pop3::ServerOptions options;
  clients::AuthenticationClient* authentication = nullptr;
  net::OfferedMechanisms* mechanisms = nullptr;
  clients::MaildropClient* maildrops = nullptr;
  // How long a service may take to answer before the client is told [SYS/TEMP].
  std::chrono::seconds question_timeout{30};
  std::chrono::seconds commit_timeout{60};
};

boost::asio::awaitable<void> RunSession(net::SessionContext context, const SessionSetup* setup);

}  // namespace postern::gateway_pop3

#endif  // POSTERN_GATEWAY_POP3_SESSION_H_
