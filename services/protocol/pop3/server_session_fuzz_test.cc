// Any octets from the client, in any pieces, and any answer of the services: no crash, bounded
// output, no credential taken in clear, and nothing deleted but by QUIT.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/string_view.h"
#include "services/protocol/pop3/server_session.h"

namespace postern::pop3 {
namespace {

void Require(bool truth) {
  if (!truth) std::abort();
}

// The input decides: an octet at a time from its end for the driver, the rest is what the client
// says.
class Fuzz {
 public:
  explicit Fuzz(absl::string_view data) : data_(data) {}

  void Run() {
    const uint8_t flags = Choose();
    ServerOptions options;
    options.hostname = "mx.test";
    options.stls = (flags & 1) != 0;
    options.implicit_tls = (flags & 2) != 0;
    ServerSession session(options);
    Action action = session.Start();
    for (int steps = 0; steps < 100000; ++steps) {
      if (std::holds_alternative<action::Close>(action)) return;
      // A portion, an answer, and a piece with every octet a dot.
      Require(session.TakeOutput().size() <= (16u << 10) + 512 + 512);
      if (std::holds_alternative<action::Read>(action) && data_.empty()) {
        action = session.Resume((flags & 4) != 0 ? Event(event::Drain{}) : event::TimedOut{});
        Require(std::holds_alternative<action::Close>(action));
        return;
      }
      action = std::visit([&](auto& a) { return session.Resume(Answer(session, a)); }, action);
    }
    Require(false);
  }

 private:
  uint8_t Choose() {
    if (data_.empty()) return 0;
    const uint8_t octet = static_cast<uint8_t>(data_.back());
    data_.remove_suffix(1);
    return octet;
  }

  Failure AnyFailure() { return static_cast<Failure>(Choose() % 4); }

  Event LoginAnswer(const ServerSession& session) {
    Require(session.secure());
    switch (Choose() % 4) {
      case 0:
        return event::Challenge{std::string(Choose(), 'c')};
      case 1:
        return event::Failed{AnyFailure()};
      default:
        return event::Authenticated{};
    }
  }

  Event NextPiece() {
    const uint8_t choice = Choose();
    if (choice % 4 == 0) {
      sending_ = false;
      return event::MessageEnd{};
    }
    if (choice == 255) return event::Failed{AnyFailure()};
    piece_ = std::string(data_.substr(0, choice));
    return event::MessagePiece{piece_};
  }

  Event Answer(const ServerSession&, action::Read&) {
    piece_ = std::string(data_.substr(0, 1 + static_cast<uint8_t>(data_.front()) % 64));
    data_.remove_prefix(piece_.size());
    return event::Received{piece_};
  }
  Event Answer(const ServerSession&, action::Flush&) {
    if (sending_) return NextPiece();
    return event::Done{};
  }
  Event Answer(const ServerSession&, action::StartTls&) { return event::TlsEstablished{}; }
  Event Answer(const ServerSession& session, action::AuthStart& a) {
    Require(a.mechanism == "PLAIN" || a.mechanism == "LOGIN");
    return LoginAnswer(session);
  }
  Event Answer(const ServerSession& session, action::AuthRespond& a) {
    Require(a.response.size() <= 8192);
    return LoginAnswer(session);
  }
  Event Answer(const ServerSession&, action::AuthCancel&) { return event::Done{}; }
  Event Answer(const ServerSession&, action::OpenMaildrop&) {
    if (Choose() % 4 == 0) return event::Failed{AnyFailure()};
    opened_ = true;
    event::Opened opened;
    for (uint64_t i = Choose(); i > 0; --i) opened.messages.push_back({1000 - i, i * i});
    return opened;
  }
  Event Answer(const ServerSession&, action::Retrieve&) {
    Require(opened_);
    if (Choose() % 4 == 0) return event::Failed{AnyFailure()};
    sending_ = true;
    Event first = NextPiece();
    if (std::holds_alternative<event::Failed>(first)) sending_ = false;
    return first;
  }
  Event Answer(const ServerSession&, action::Commit& a) {
    Require(opened_);
    Require(a.deleted_uids.size() <= 255);
    if (Choose() % 4 == 0) return event::Failed{AnyFailure()};
    return event::Done{};
  }
  Event Answer(const ServerSession&, action::Close&) { return event::Done{}; }

  absl::string_view data_;
  std::string piece_;
  bool opened_ = false;
  bool sending_ = false;
};

}  // namespace
}  // namespace postern::pop3

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  postern::pop3::Fuzz(absl::string_view(reinterpret_cast<const char*>(data), size)).Run();
  return 0;
}
