// The server's side of one POP3 session (RFC 1939, 2449, 2595, 3206, 5034), sans I/O. Same contract
// as services/protocol/smtp/server_session.h: Start, then Resume with the event that answers the
// last action; the output is sent before Read, Flush, StartTls and Close.
#ifndef POSTERN_SERVICES_PROTOCOL_POP3_SERVER_SESSION_H_
#define POSTERN_SERVICES_PROTOCOL_POP3_SERVER_SESSION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/protocol/sasl/mechanism_list.h"

namespace postern::pop3 {

// Shared by all sessions of a listener; outlives them.
struct ServerOptions {
  std::string hostname;
  // STLS is offered until TLS is up. Without TLS, no credentials are taken whatever else is set.
  bool stls = false;
  bool implicit_tls = false;
  size_t max_auth_failures = 3;
  size_t max_errors = 20;
};

struct Message {
  uint64_t uid = 0;
  uint64_t octets = 0;
};

// Words of RFC 2449 RESP-CODES and RFC 3206 AUTH-RESP-CODE.
enum class Failure {
  kAuth,       // [AUTH]
  kInUse,      // [IN-USE]
  kTemporary,  // [SYS/TEMP]
  kPermanent,  // [SYS/PERM]
};

namespace action {
struct Read {};
// Send the output; then Resume(Done).
struct Flush {};
struct StartTls {};
// PLAIN or LOGIN (USER/PASS comes as PLAIN). Challenge, Authenticated or Failed. No Authenticated
// is final before OpenMaildrop.
struct AuthStart {
  std::string mechanism;
  std::optional<std::string> initial_response;
};
struct AuthRespond {
  std::string response;
};
// End the exchange; Resume(Done).
struct AuthCancel {};
// Open the authenticated user's maildrop: Opened or Failed.
struct OpenMaildrop {};
// Send a message: MessagePiece ..., then MessageEnd; Failed only before the first piece (after it,
// close the connection).
struct Retrieve {
  uint64_t uid = 0;
  std::optional<uint32_t> body_lines;
};
// QUIT in TRANSACTION: delete these. Done or Failed.
struct Commit {
  std::vector<uint64_t> deleted_uids;
};
struct Close {
  // The client spoke another protocol, or TLS where it begins by a command (foreign.h).
  bool foreign = false;
};
}  // namespace action

using Action = std::variant<action::Read, action::Flush, action::StartTls, action::AuthStart,
                            action::AuthRespond, action::AuthCancel, action::OpenMaildrop,
                            action::Retrieve, action::Commit, action::Close>;

namespace event {
struct Received {
  absl::string_view octets;
};
// The session is over without UPDATE: nothing is deleted (RFC 1939 3).
struct TimedOut {};
struct Drain {};
struct TlsEstablished {};
struct Challenge {
  std::string octets;
};
struct Authenticated {};
struct Opened {
  uint32_t uid_validity = 0;
  std::vector<Message> messages;
};
struct Failed {
  Failure failure;
};
// The engine dot-stuffs; the piece is consumed before Resume returns, which then gives Flush.
struct MessagePiece {
  absl::string_view octets;
};
struct MessageEnd {};
struct Done {};
}  // namespace event

using Event = std::variant<event::Received, event::TimedOut, event::Drain, event::TlsEstablished,
                           event::Challenge, event::Authenticated, event::Opened, event::Failed,
                           event::MessagePiece, event::MessageEnd, event::Done>;

// One session; one thread at a time. After each Flush inside a message comes Retrieve's next event,
// not Done.
class ServerSession {
 public:
  explicit ServerSession(const ServerOptions& options);
  ~ServerSession();
  ServerSession(const ServerSession&) = delete;
  ServerSession& operator=(const ServerSession&) = delete;

  Action Start();
  Action Resume(Event event);

  // The SASL mechanisms of the connection, in the order in which they are named; until then, PLAIN
  // and LOGIN.
  void Offer(sasl::MechanismList mechanisms);

  bool has_output() const;
  std::string TakeOutput();
  bool secure() const;
  // The client has said USER or AUTH.
  bool greeted() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace postern::pop3

#endif  // POSTERN_SERVICES_PROTOCOL_POP3_SERVER_SESSION_H_
