#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <variant>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/protocol/smtp/server_session.h"

namespace postern::smtp {
namespace {

// One session over `octets` in pieces of `piece`; the answers follow from `seed`. Returns all that
// could be seen from outside.
class Session {
 public:
  Session(const ServerOptions& options, uint8_t seed) : session_(options), random_(seed) {}

  std::string Run(absl::string_view octets, size_t piece) {
    action_ = session_.Start();
    Settle();
    while (!octets.empty() && !closed_ && !tls_) {
      const auto copy = std::make_unique<std::string>(octets.substr(0, piece));
      octets.remove_prefix(copy->size());
      action_ = session_.Resume(event::Received{*copy});
      Settle();
    }
    if (!closed_) {
      action_ = session_.Resume(event::TimedOut{});
      Settle();
      if (!closed_) std::abort();
    }
    return trace_ + output_;
  }

 private:
  void Settle() {
    for (int i = 0;; ++i) {
      if (i > 1 << 20) std::abort();
      if (std::holds_alternative<action::Read>(action_)) return TakeOutput();
      if (std::holds_alternative<action::Close>(action_)) {
        closed_ = true;
        return TakeOutput();
      }
      action_ = session_.Resume(std::visit([this](auto& a) { return Answer(a); }, action_));
    }
  }

  void TakeOutput() {
    const std::string output = session_.TakeOutput();
    if (!output.empty() && !absl::EndsWith(output, "\r\n")) std::abort();
    if (output.size() > 32 << 10) std::abort();
    output_ += output;
  }

  Event Decide() {
    random_ = random_ * 1103515245 + 12345;
    switch (random_ >> 16 & 15) {
      case 0:
        return event::Refused{{550, "5.7.1", "no\r\n250 injected"}};
      case 1:
        return event::Refused{{451, "4.3.0", "later"}};
      default:
        return event::Accepted{};
    }
  }

  Event Answer(action::Read&) { std::abort(); }
  Event Answer(action::Close&) { std::abort(); }
  Event Answer(action::Flush&) {
    TakeOutput();
    return event::Done{};
  }
  Event Answer(action::CheckConnection&) { return Decide(); }
  Event Answer(action::StartTls&) {
    TakeOutput();
    // What was received with STARTTLS is dropped: from here on it matters how the input is cut.
    tls_ = true;
    return event::TlsEstablished{};
  }
  Event Answer(action::AuthStart& a) {
    absl::StrAppend(&trace_, "{auth ", a.mechanism, " ", a.initial_response.value_or("-"), "}");
    return event::Challenge{"x"};
  }
  Event Answer(action::AuthRespond& a) {
    absl::StrAppend(&trace_, "{respond ", a.response, "}");
    Event event = Decide();
    if (std::holds_alternative<event::Accepted>(event)) return event::Authenticated{};
    return event;
  }
  Event Answer(action::AuthCancel&) { return event::Done{}; }
  Event Answer(action::CheckSender&) {
    absl::StrAppend(&trace_, "{from ", session_.envelope().sender, "}");
    return Decide();
  }
  Event Answer(action::CheckRecipient& a) {
    absl::StrAppend(&trace_, "{to ", a.address, "}");
    return Decide();
  }
  Event Answer(action::BeginMessage&) {
    message_.clear();
    if (session_.envelope().recipients.empty()) std::abort();
    return Decide();
  }
  Event Answer(action::Body& a) {
    if (a.octets.empty()) std::abort();
    absl::StrAppend(&message_, a.octets);
    return event::Done{};
  }
  Event Answer(action::EndMessage&) {
    for (size_t i = 0; i < message_.size(); ++i) {
      const bool after_cr = i > 0 && message_[i - 1] == '\r';
      if (message_[i] == '\0' || (message_[i] == '\n') != after_cr) std::abort();
    }
    if (!message_.empty() && !absl::EndsWith(message_, "\r\n")) std::abort();
    absl::StrAppend(&trace_, "{message ", message_, "}");
    return Decide();
  }
  Event Answer(action::AbandonMessage&) {
    trace_ += "{abandon}";
    return event::Done{};
  }

  ServerSession session_;
  Action action_;
  uint32_t random_;
  bool closed_ = false;
  bool tls_ = false;
  std::string message_;
  // Apart, since replies may wait for what follows them.
  std::string trace_;
  std::string output_;
};

}  // namespace
}  // namespace postern::smtp

// Three octets of set-up, then what the client sends. However it is cut, the session is the same.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using postern::smtp::Session;
  if (size < 3) return 0;
  postern::smtp::ServerOptions options;
  options.hostname = "mx.test";
  options.starttls = data[0] & 1;
  options.implicit_tls = data[0] & 2;
  options.require_tls = data[0] & 4;
  options.submission = data[0] & 8;
  options.max_message_octets = data[0] & 16 ? 64 : 4096;
  options.max_recipients = 3;
  options.max_errors = 5;
  const absl::string_view octets(reinterpret_cast<const char*>(data) + 3, size - 3);
  const std::string whole = Session(options, data[1]).Run(octets, octets.size() + 1);
  if (Session(options, data[1]).Run(octets, 1) != whole) std::abort();
  if (Session(options, data[1]).Run(octets, 1 + data[2]) != whole) std::abort();
  return 0;
}
