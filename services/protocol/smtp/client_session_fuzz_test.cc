#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <variant>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "services/protocol/smtp/client_session.h"

// Two octets of set-up, then what the server sends, in pieces; then the connection is lost. Every
// recipient gets an answer, no command is split, and nobody is told "delivered" without a whole
// message sent.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace action = postern::smtp::client_action;
  namespace event = postern::smtp::client_event;
  if (size < 2) return 0;
  absl::string_view rest(reinterpret_cast<const char*>(data) + 2, size - 2);
  postern::smtp::ClientOptions options;
  options.hostname = "me.test";
  options.starttls = data[0] & 1;
  if (data[0] & 16) options.recipients_per_transaction = 1;
  postern::smtp::ClientTransaction transaction;
  transaction.sender = data[0] & 2 ? "" : "a@b.example";
  transaction.recipients = {"x@y.example", "z@y.example", "bad\r\nQUIT"};
  transaction.octets = 100;
  transaction.eight_bit = data[0] & 4;
  transaction.smtputf8 = data[0] & 8;
  const size_t piece = 1 + data[1];

  postern::smtp::ClientSession session(options, transaction);
  postern::smtp::ClientAction next = session.Start();
  bool sent_whole = false;
  int pieces = 0;
  for (size_t i = 0;; ++i) {
    if (i > 4 * size + 100) std::abort();
    if (const auto* finished = std::get_if<action::Finished>(&next)) {
      if (finished->answers.size() != 3) std::abort();
      if (finished->answers[2].code != 501) std::abort();
      for (const auto& answer : finished->answers) {
        if (answer.command.empty()) std::abort();
        if (answer.accepted() && !sent_whole) std::abort();
        if (answer.text.size() > 1000) std::abort();
      }
      return 0;
    }
    if (const auto* write = std::get_if<action::Write>(&next)) {
      if (write->octets.empty()) std::abort();
      if (absl::StrContains(write->octets, "bad")) std::abort();
      next = session.Resume(event::Sent{});
    } else if (std::holds_alternative<action::Read>(next)) {
      if (rest.empty()) {
        next = session.Resume(event::Lost{"end"});
        continue;
      }
      const auto copy = std::make_unique<std::string>(rest.substr(0, piece));
      rest.remove_prefix(copy->size());
      next = session.Resume(event::Received{*copy});
    } else if (std::holds_alternative<action::StartTls>(next)) {
      next = session.Resume(event::TlsEstablished{});
    } else if (++pieces < 3) {
      next = session.Resume(event::Body{".line\r\n."});
    } else {
      sent_whole = true;
      next = session.Resume(event::BodyEnd{});
    }
  }
}
