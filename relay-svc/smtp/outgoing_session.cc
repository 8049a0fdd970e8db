#include "relay-svc/smtp/outgoing_session.h"

#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <variant>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "boost/asio/this_coro.hpp"
#include "services/net/connection.h"

namespace postern::relay {
namespace {

using boost::asio::awaitable;
using std::chrono::steady_clock;

smtp::ClientEvent Lost(const absl::Status& status) {
  return smtp::client_event::Lost{std::string(status.message())};
}

std::vector<smtp::ServerAnswer> NotConnected(const absl::Status& status, size_t recipients) {
  smtp::ServerAnswer answer;
  answer.text = std::string(status.message());
  answer.command = "CONNECT";
  return std::vector<smtp::ServerAnswer>(recipients, answer);
}

}  // namespace

std::shared_ptr<SSL_CTX> MakeOpportunisticTlsContext() {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  if (context == nullptr) return nullptr;
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  return context;
}

awaitable<SessionResult> RunOutgoingSession(boost::asio::ip::tcp::endpoint peer, std::string host,
                                            smtp::ClientOptions options,
                                            smtp::ClientTransaction transaction,
                                            SessionLimits limits, SSL_CTX* tls, Places* places,
                                            const bool& stopping, MessageBody& body) {
  SessionResult result;
  const size_t recipients = transaction.recipients.size();
  net::Deadline end = steady_clock::now() + limits.transaction_timeout;
  const auto within = [&end](std::chrono::seconds time) {
    return std::min(end, steady_clock::now() + time);
  };
  net::Connection connection(co_await boost::asio::this_coro::executor);
  const absl::Cleanup close = [&] { connection.Close(); };
  const absl::Status connected = co_await connection.Connect(peer, within(limits.connect_timeout));
  if (!connected.ok()) {
    result.silent = absl::IsDeadlineExceeded(connected);
    result.answers = NotConnected(connected, recipients);
    co_return result;
  }

  smtp::ClientSession session(options, std::move(transaction));
  MessageBody::Reader reader(&body);
  std::array<char, 4096> buffer;
  smtp::ClientAction action = session.Start();
  bool greeted = false;
  bool body_sent = false;
  bool has_place = false;
  const absl::Cleanup leave = [&] {
    if (has_place) places->GiveBack();
  };
  net::Deadline hello_end = within(limits.greeting_timeout);
  while (true) {
    if (!greeted && std::holds_alternative<smtp::client_action::Write>(action)) {
      // EHLO: the greeting is whole.
      greeted = true;
      if (places != nullptr) {
        has_place = co_await places->Take(within(limits.place_timeout));
        if (!has_place) {
          result.answers =
              NotConnected(absl::UnavailableError("no session was free here"), recipients);
          co_return result;
        }
      }
      hello_end = within(limits.greeting_timeout);
    }
    if (auto* write = std::get_if<smtp::client_action::Write>(&action)) {
      const bool begins = absl::StartsWith(write->octets, "MAIL FROM:");
      if (begins && result.envelope_sent) {
        if (stopping) {
          action = session.Resume(Lost(absl::UnavailableError("relay-svc stops")));
          continue;
        }
        end = steady_clock::now() + limits.transaction_timeout;
      }
      result.envelope_sent = result.envelope_sent || begins;
      body_sent = body_sent && !begins;
      const absl::Status status =
          co_await connection.Write(write->octets, within(limits.reply_timeout));
      if (!status.ok()) {
        action = session.Resume(Lost(status));
      } else {
        action = session.Resume(smtp::client_event::Sent{});
      }
    } else if (std::holds_alternative<smtp::client_action::Read>(action)) {
      const absl::StatusOr<size_t> octets = co_await connection.Read(
          absl::MakeSpan(buffer), !result.envelope_sent ? hello_end
                                  : body_sent           ? within(2 * limits.reply_timeout)
                                                        : within(limits.reply_timeout));
      if (!octets.ok()) {
        result.silent = !result.envelope_sent && absl::IsDeadlineExceeded(octets.status());
        action = session.Resume(Lost(octets.status()));
      } else {
        action =
            session.Resume(smtp::client_event::Received{absl::string_view(buffer.data(), *octets)});
      }
    } else if (std::holds_alternative<smtp::client_action::StartTls>(action)) {
      const absl::Status status = co_await connection.StartTlsAsClient(tls, host, hello_end);
      if (!status.ok()) {
        result.tls_failed = true;
        action = session.Resume(Lost(status));
      } else {
        result.tls = true;
        action = session.Resume(smtp::client_event::TlsEstablished{});
      }
    } else if (const auto* send = std::get_if<smtp::client_action::SendBody>(&action)) {
      if (send->from_start) reader = MessageBody::Reader(&body);
      const absl::StatusOr<std::shared_ptr<const std::string>> piece = co_await reader.Next();
      if (!piece.ok()) {
        // The connection closes before the end of the body: the host drops what it has.
        action = session.Resume(Lost(piece.status()));
      } else if (*piece == nullptr) {
        body_sent = true;
        action = session.Resume(smtp::client_event::BodyEnd{});
      } else {
        action = session.Resume(smtp::client_event::Body{**piece});
      }
    } else {
      result.answers = std::get<smtp::client_action::Finished>(std::move(action)).answers;
      // The engine answers for every recipient; anything else would lose one.
      result.answers.resize(recipients, smtp::ServerAnswer{.text = "no answer"});
      // A handshake that failed, a connection that closed at STARTTLS, octets behind its 220, a
      // 421: all are a STARTTLS that is offered and does not work. In TLS 1.3 a server's refusal
      // comes after our handshake, and so in place of the answer to EHLO.
      result.tls_failed =
          result.tls_failed ||
          std::any_of(result.answers.begin(), result.answers.end(),
                      [&](const smtp::ServerAnswer& answer) {
                        if (answer.command == "STARTTLS") {
                          return answer.code == 0 || answer.code == 421;
                        }
                        return result.tls && answer.code == 0 && answer.command == "EHLO";
                      });
      co_return result;
    }
  }
}

}  // namespace postern::relay
