// The server's side of one SMTP session (RFC 5321), sans I/O: no sockets, clock, threads or logs.
// The driver gives an Event and gets the one Action to take next; questions that others answer
// (policy, authentication, delivery) are actions too.
//
//   session.Start() → CheckConnection; the driver answers Accepted or Refused; then
//   Read → Received, CheckSender → Accepted | Refused, ... until Close.
//
// Replies gather in an output buffer that the driver sends (TakeOutput) before Read, StartTls,
// Flush and Close, so that a pipelined group of commands gets its replies in one write (RFC 2920).
#ifndef POSTERN_SERVICES_PROTOCOL_SMTP_SERVER_SESSION_H_
#define POSTERN_SERVICES_PROTOCOL_SMTP_SERVER_SESSION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/protocol/sasl/mechanism_list.h"
#include "services/protocol/smtp/reply.h"

namespace postern::smtp {

// Shared by all sessions of a listener; outlives them.
struct ServerOptions {
  std::string hostname;
  // STARTTLS is offered until TLS is up.
  bool starttls = false;
  // The session is secure from its first octet.
  bool implicit_tls = false;
  // 530 5.7.0 to everything but EHLO, HELO, STARTTLS, NOOP, RSET and QUIT before TLS.
  bool require_tls = false;
  // AUTH is offered, after TLS only (538 5.7.11 before); MAIL without it is 530 5.7.0. False on mx:
  // 503/502 to AUTH.
  bool submission = false;
  uint64_t max_message_octets = 50 << 20;
  size_t max_recipients = 100;
  size_t max_errors = 20;
};

struct Recipient {
  // Without angle brackets and source route; the local part as the client wrote it, quoted only
  // where it must be, the domain in lower case. "postmaster" (in any case of letters) may come
  // without a domain.
  std::string address;
};

struct Envelope {
  // Empty for the null sender <>; else as Recipient::address.
  std::string sender;
  std::vector<Recipient> recipients;
  // SIZE= of MAIL; 0 when absent.
  uint64_t declared_octets = 0;
  bool eight_bit = false;
  bool smtputf8 = false;
};

namespace action {
// Wait for octets from the peer.
struct Read {};
// Send the output; then Resume(Done).
struct Flush {};
// May this client talk to us at all? Accepted or Refused.
struct CheckConnection {};
// Send the output, forget what was received and not consumed, do the handshake; then
// Resume(TlsEstablished).
struct StartTls {};
// Begin an exchange with this mechanism (upper case). `initial_response` is decoded. Challenge,
// Authenticated or Refused.
struct AuthStart {
  std::string mechanism;
  std::optional<std::string> initial_response;
};
// Decoded answer to the last challenge. Challenge, Authenticated or Refused.
struct AuthRespond {
  std::string response;
};
// The client sent "*" (or what is not base64): end the exchange; Resume(Done). The reply is made
// here.
struct AuthCancel {};
// MAIL: envelope().sender. Accepted or Refused.
struct CheckSender {};
// RCPT: `address`. Accepted (it is then in envelope().recipients) or Refused.
struct CheckRecipient {
  std::string address;
};
// DATA: a message for envelope() begins. Accepted (354 goes out) or Refused.
struct BeginMessage {};
// Octets of the message, dot-unstuffed, CRLF line ends; all that the last Received held of them in
// one piece. In the session's memory, valid until the next Resume(Done).
struct Body {
  absl::string_view octets;
};
// The message is whole: commit it. Accepted (with the reply's text) or Refused.
struct EndMessage {};
// The message is refused here (size, bare CR or LF, loop, ...) or the transaction is over: drop
// what Body gave. Resume(Done).
struct AbandonMessage {};
// Send the output and close.
struct Close {
  // The client spoke another protocol, or TLS where it begins by a command (foreign.h).
  bool foreign = false;
};
}  // namespace action

using Action =
    std::variant<action::Read, action::Flush, action::CheckConnection, action::StartTls,
                 action::AuthStart, action::AuthRespond, action::AuthCancel, action::CheckSender,
                 action::CheckRecipient, action::BeginMessage, action::Body, action::EndMessage,
                 action::AbandonMessage, action::Close>;

namespace event {
// To Read. The octets are consumed or copied before Resume returns.
struct Received {
  absl::string_view octets;
};
// To Read: nothing came in time. 421 4.4.2, then Close.
struct TimedOut {};
// To Read: the process drains. At a command boundary 421 4.3.2, then Close; inside a message Read
// again, and 421 after it.
struct Drain {};
struct TlsEstablished {};
// To EndMessage `text` is the text of 250 2.0.0; empty: a default. Ignored elsewhere.
struct Accepted {
  std::string text;
};
// The reply to send. 421 closes afterwards.
struct Refused {
  Reply reply;
};
struct Challenge {
  std::string octets;
};
struct Authenticated {};
struct Done {};
}  // namespace event

using Event = std::variant<event::Received, event::TimedOut, event::Drain, event::TlsEstablished,
                           event::Accepted, event::Refused, event::Challenge, event::Authenticated,
                           event::Done>;

// One session; one thread at a time. Memory: one line buffer that grows to the line limit (and to
// nothing when idle).
class ServerSession {
 public:
  explicit ServerSession(const ServerOptions& options);
  ~ServerSession();
  ServerSession(const ServerSession&) = delete;
  ServerSession& operator=(const ServerSession&) = delete;

  Action Start();
  // An event that does not answer the last action is a driver's bug (CHECK).
  Action Resume(Event event);

  // The SASL mechanisms of the connection, in the order in which they are named; until then, PLAIN
  // and LOGIN.
  void Offer(sasl::MechanismList mechanisms);

  bool has_output() const;
  std::string TakeOutput();

  const Envelope& envelope() const;
  // The argument of EHLO or HELO; empty before. On mx printable UTF-8; from a user's client up to
  // 255 octets of anything but CR, LF and NUL.
  absl::string_view helo() const;
  // RFC 3848 for Received: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA; UTF8 forms of RFC 6531.
  std::string protocol_name() const;
  bool secure() const;
  bool authenticated() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace postern::smtp

#endif  // POSTERN_SERVICES_PROTOCOL_SMTP_SERVER_SESSION_H_
