// The client's side of an SMTP session (RFC 5321) that brings one message to its recipients, sans
// I/O: greeting, EHLO (HELO when refused), STARTTLS when offered, then MAIL, RCPT and DATA, in as
// many transactions as the recipients take (RFC 5321 4.5.3.1.8), QUIT; pipelined when the server
// offers it.
#ifndef POSTERN_SERVICES_PROTOCOL_SMTP_CLIENT_SESSION_H_
#define POSTERN_SERVICES_PROTOCOL_SMTP_CLIENT_SESSION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"

namespace postern::smtp {

struct ClientOptions {
  // Our name in EHLO.
  std::string hostname;
  // Use STARTTLS when the server offers it.
  bool starttls = true;
  // Recipients in one transaction, at least 1; those beyond go in further ones.
  size_t recipients_per_transaction = 50;
};

// A message and its envelope.
struct ClientTransaction {
  // Empty: <>.
  std::string sender;
  std::vector<std::string> recipients;
  uint64_t octets = 0;
  // The body has octets above 127 / the envelope or header needs SMTPUTF8.
  bool eight_bit = false;
  bool smtputf8 = false;
};

// One answer of the server (or of ours for it), flattened into one line.
struct ServerAnswer {
  int code = 0;  // 0: no answer (connection lost, time-out, protocol error)
  std::string enhanced;
  std::string text;
  // The command it answers: "CONNECT", "EHLO", "HELO", "STARTTLS", "MAIL FROM", "RCPT TO", "DATA",
  // "end of DATA". STARTTLS with code 0: the handshake failed, and without TLS it might work. "end
  // of DATA" with code 0: nobody knows whether the message was taken.
  std::string command;
  // To the MAIL of a further transaction, where the session's first one was taken: it is about the
  // session (so many messages, and no more), and another session may do better.
  bool of_session = false;

  bool accepted() const { return code >= 200 && code < 300; }
  // RFC 5321 4.5.3.1.10: the server takes no more recipients in this transaction. 552 is what older
  // servers say for 452, and is temporary as that is, unless it is about the message's length
  // (RFC 3463 X.2.3, X.3.4), which stays.
  bool too_many_recipients() const {
    return command == "RCPT TO" &&
           (code == 452 || (code == 552 && enhanced != "5.2.3" && enhanced != "5.3.4"));
  }
  // 5xx, or what can't work with this server (8BITMIME, SMTPUTF8 or SIZE it lacks).
  bool permanent() const { return code >= 500 && !too_many_recipients() && !of_session; }
};

namespace client_action {
// Send `octets`, then Resume(Sent).
struct Write {
  std::string octets;
};
struct Read {};
// The handshake; Resume(TlsEstablished), or Resume(Lost) when it fails.
struct StartTls {};
// The server wants the body: Resume(Body) with the next piece, or Resume(BodyEnd). Comes again
// after each piece is sent.
struct SendBody {
  // The next piece is the body's first: each transaction sends it from the start.
  bool from_start = false;
};
// Everything is known: `answers` in the order of the recipients. Close the connection.
struct Finished {
  std::vector<ServerAnswer> answers;
  bool tls = false;
};
}  // namespace client_action

using ClientAction =
    std::variant<client_action::Write, client_action::Read, client_action::StartTls,
                 client_action::SendBody, client_action::Finished>;

namespace client_event {
struct Sent {};
// To Read. The octets are consumed or copied before Resume returns.
struct Received {
  absl::string_view octets;
};
struct TlsEstablished {};
// To SendBody: the next piece, CRLF line ends, not dot-stuffed; answered by Write.
struct Body {
  absl::string_view octets;
};
struct BodyEnd {};
// To anything: the connection broke or a deadline passed. `why` is for the answer's text. Finished
// follows.
struct Lost {
  std::string why;
};
}  // namespace client_event

using ClientEvent =
    std::variant<client_event::Sent, client_event::Received, client_event::TlsEstablished,
                 client_event::Body, client_event::BodyEnd, client_event::Lost>;

// One session; one thread at a time. `options` outlives it. A further transaction follows at once
// for recipients beyond the limit, and for those that the server found too many where it took
// others. So each has settled a recipient before the next one begins, and they come to an end; a
// message that is refused has the same answer for all that were to get it. Addresses that can't
// stand in a command are answered here (501), so that nothing from them reaches the wire.
class ClientSession {
 public:
  ClientSession(const ClientOptions& options, ClientTransaction transaction);
  ~ClientSession();
  ClientSession(const ClientSession&) = delete;
  ClientSession& operator=(const ClientSession&) = delete;

  ClientAction Start();
  ClientAction Resume(ClientEvent event);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace postern::smtp

#endif  // POSTERN_SERVICES_PROTOCOL_SMTP_CLIENT_SESSION_H_
