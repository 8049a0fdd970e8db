// One SMTP session with one address of a mail host: one message, in as many transactions as its
// recipients take, QUIT.
#ifndef POSTERN_RELAY_SVC_SMTP_OUTGOING_SESSION_H_
#define POSTERN_RELAY_SVC_SMTP_OUTGOING_SESSION_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "boost/asio/awaitable.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "relay-svc/domain/message_body.h"
#include "relay-svc/smtp/line.h"
#include "services/protocol/smtp/client_session.h"

typedef struct ssl_ctx_st SSL_CTX;

namespace postern::relay {

// TLS 1.2 or newer, without a look at the certificate: opportunistic TLS (RFC 7435) protects
// against those who listen, and a host that fails verification would otherwise get its mail in
// clear.
std::shared_ptr<SSL_CTX> MakeOpportunisticTlsContext();

struct SessionLimits {
  std::chrono::seconds connect_timeout{30};
  // For the whole greeting, and once more for EHLO and STARTTLS together: a host that takes the
  // connection and then says nothing, or little, holds nobody up.
  std::chrono::seconds greeting_timeout{30};
  // For one of `places`, which the greeted host must wait out.
  std::chrono::seconds place_timeout{60};
  // The answer to the body waits twice as long.
  std::chrono::seconds reply_timeout{300};
  // Until the first transaction is over; and for each further one.
  std::chrono::seconds transaction_timeout{3600};
};

struct SessionResult {
  // In the order of the recipients.
  std::vector<smtp::ServerAnswer> answers;
  bool tls = false;
  // The host offered STARTTLS and could not do it: it may be tried again in clear.
  bool tls_failed = false;
  // It did not take the connection, or did not come as far as the envelope, in time.
  bool silent = false;
  // MAIL was sent.
  bool envelope_sent = false;
};

// On the calling coroutine's loop. `host` is the name the address was looked up for. A host that
// greeted waits for one of `places`, so that those which say nothing use up none; null: the caller
// has one. Once `stopping` no further transaction begins: those who wait for theirs have code 0.
boost::asio::awaitable<SessionResult> RunOutgoingSession(
    boost::asio::ip::tcp::endpoint peer, std::string host, smtp::ClientOptions options,
    smtp::ClientTransaction transaction, SessionLimits limits, SSL_CTX* tls, Places* places,
    const bool& stopping, MessageBody& body);

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_SMTP_OUTGOING_SESSION_H_
