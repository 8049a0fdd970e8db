// Drives one SMTP session: the engine's actions onto the connection and the services.
#ifndef POSTERN_GATEWAY_SMTP_SESSION_H_
#define POSTERN_GATEWAY_SMTP_SESSION_H_

#include <chrono>
#include <string>

#include "boost/asio/awaitable.hpp"
#include "services/clients/auth_client.h"
#include "services/clients/relay_client.h"
#include "services/clients/store_client.h"
#include "services/net/gateway.h"
#include "services/net/offered_mechanisms.h"
#include "services/process/clock.h"
#include "services/protocol/smtp/server_session.h"

namespace postern::gateway_smtp {

// What all sessions of a listener share; outlives them. Thread-safe by not changing.
struct SessionSetup {
  // `submission` in it is the role.
  smtp::ServerOptions options;
  // Both roles.
  clients::PolicyClient* policy = nullptr;
  // mx.
  clients::DeliveryClient* delivery = nullptr;
  // For aliases that leave the platform.
  clients::SubmissionClient* forwarding = nullptr;
  // submission.
  clients::AuthenticationClient* authentication = nullptr;
  net::OfferedMechanisms* mechanisms = nullptr;
  clients::SubmissionClient* submission = nullptr;

  process::Clock clock = process::SystemClock();
  // How long a service may take to answer before the client is told 4xx: longer than a restart of
  // it, shorter than what would pile up sessions while it is away.
  std::chrono::seconds question_timeout{5};
  // mx: a message whose body ends later than this after its first RCPT asks for its recipients
  // again.
  std::chrono::seconds recipients_hold{2};
  // Password hashing has a queue.
  std::chrono::seconds login_timeout{30};
  std::chrono::seconds commit_timeout{60};
};

boost::asio::awaitable<void> RunSession(net::SessionContext context, const SessionSetup* setup);

}  // namespace postern::gateway_smtp

#endif  // POSTERN_GATEWAY_SMTP_SESSION_H_
