#include "services/protocol/smtp/server_session.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/protocol/foreign/foreign.h"
#include "services/protocol/sasl/base64.h"
#include "services/protocol/smtp/command.h"
#include "services/protocol/smtp/command_reader.h"
#include "services/protocol/smtp/data_reader.h"
#include "services/protocol/smtp/reply.h"

namespace postern::smtp {
namespace {

// Replies are sent before there are more than this.
constexpr size_t kMaxOutput = 16 << 10;
// Commands in a row that lead nowhere (NOOP, RSET, ...); more count as errors. As Postfix's
// smtpd_junk_command_limit.
constexpr size_t kMaxJunk = 100;
// Recipients over the limit that are refused before more count as errors. As Postfix's
// smtpd_recipient_overshoot_limit.
constexpr size_t kMaxOvershoot = 1000;
// How much over the size limit is read before the sender is cut off.
constexpr uint64_t kMaxSwallowed = uint64_t{64} << 20;

// A driver that gives an event that the last action doesn't ask for is broken; going on could
// confirm what was not committed.
[[noreturn]] void WrongEvent() {
  std::fputs("smtp::ServerSession: the event does not answer the last action\n", stderr);
  std::abort();
}

Reply ReplyTo(DataReader::Defect defect) {
  using Defect = DataReader::Defect;
  switch (defect) {
    case Defect::kBareCr:
      return {554, "5.6.0", "Bare CR in the message (RFC 5321 2.3.8)"};
    case Defect::kBareLf:
      return {554, "5.6.0", "Bare LF in the message (RFC 5321 2.3.8)"};
    case Defect::kNul:
      return {554, "5.6.0", "NUL in the message (RFC 2045 2.7)"};
    case Defect::kTooLarge:
      return {552, "5.3.4", "Message size exceeds the limit"};
    case Defect::kLoop:
      return {554, "5.4.6", "Too many Received fields: the message loops"};
    case Defect::kNone:
      break;
  }
  std::abort();
}

}  // namespace

// In one file though it is long: each command's answer hangs on the same few states, and they are
// read best side by side. Framing and grammar are apart (command_reader, command, data_reader).
class ServerSession::Impl {
 public:
  explicit Impl(const ServerOptions& options) : options_(options), secure_(options.implicit_tls) {}

  void Offer(sasl::MechanismList mechanisms) { mechanisms_ = std::move(mechanisms); }

  Action Start() {
    Expect(Waiting::kStart);
    return Ask(Waiting::kConnection, action::CheckConnection{});
  }

  Action Resume(Event&& event) {
    return std::visit([this](auto& e) { return On(e); }, event);
  }

  bool has_output() const { return !output_.empty(); }
  std::string TakeOutput() { return std::exchange(output_, std::string()); }
  const Envelope& envelope() const { return envelope_; }
  absl::string_view helo() const { return helo_; }
  bool secure() const { return secure_; }
  bool authenticated() const { return authenticated_; }

  // RFC 3848, RFC 6531 4.3.
  std::string protocol_name() const {
    if (!extended_) return "SMTP";
    return absl::StrCat(envelope_.smtputf8 ? "UTF8SMTP" : "ESMTP", secure_ ? "S" : "",
                        authenticated_ ? "A" : "");
  }

 private:
  // What the last action asked for.
  enum class Waiting : uint8_t {
    kStart,
    kConnection,
    kOctets,
    kTls,
    kAuth,
    kSender,
    kRecipient,
    kMessage,
    kCommit,
    kDone,
    kNothing,
  };
  // What octets are.
  enum class Mode : uint8_t {
    kCommand,
    // Lines are the client's part of an authentication exchange.
    kAuth,
    kData,
    // The connection was refused: no command but QUIT (RFC 5321 3.1).
    kRefused,
  };

  Action Ask(Waiting waiting, Action action) {
    waiting_ = waiting;
    return action;
  }
  void Expect(Waiting waiting) const {
    if (waiting_ != waiting) WrongEvent();
  }

  // ---- Events.

  Action On(event::Received& e) {
    Expect(Waiting::kOctets);
    input_.append(e.octets.data(), e.octets.size());
    return Run();
  }

  Action On(event::TimedOut&) {
    Expect(Waiting::kOctets);
    return Leave("4.4.2", "Idle for too long");
  }

  Action On(event::Drain&) {
    Expect(Waiting::kOctets);
    draining_ = true;
    if (mode_ == Mode::kData) return Ask(Waiting::kOctets, action::Read{});
    return Leave("4.3.2", "Service shutting down");
  }

  Action On(event::TlsEstablished&) {
    Expect(Waiting::kTls);
    // RFC 3207 4.2: what was learned before TLS is forgotten, the argument of EHLO too.
    secure_ = true;
    ForgetHelo();
    return Run();
  }

  Action On(event::Accepted& e) {
    switch (waiting_) {
      case Waiting::kConnection:
        Say(220, "", absl::StrCat(options_.hostname, " ESMTP Postern"));
        break;
      case Waiting::kSender:
        in_transaction_ = true;
        Say(250, "2.1.0", "Sender OK");
        break;
      case Waiting::kRecipient:
        envelope_.recipients.push_back({std::exchange(recipient_, std::string())});
        Say(250, "2.1.5", "Recipient OK");
        break;
      case Waiting::kMessage:
        mode_ = Mode::kData;
        data_ = std::make_unique<DataReader>(options_.max_message_octets);
        Say(354, "", "End data with <CR><LF>.<CR><LF>");
        break;
      case Waiting::kCommit:
        junk_ = errors_ = overshoot_ = 0;
        AnswerMessage({250, "2.0.0", e.text.empty() ? "Message accepted" : std::move(e.text)});
        break;
      default:
        WrongEvent();
    }
    return Run();
  }

  Action On(event::Refused& e) {
    switch (waiting_) {
      case Waiting::kConnection:
        mode_ = Mode::kRefused;
        Say(e.reply);
        break;
      case Waiting::kSender:
      case Waiting::kMessage:
        EndTransaction();
        Refuse(e.reply);
        break;
      case Waiting::kRecipient:
        recipient_ = std::string();
        recipient_refused_ = true;
        Refuse(e.reply);
        break;
      case Waiting::kAuth:
        mode_ = Mode::kCommand;
        Refuse(e.reply);
        break;
      case Waiting::kCommit:
        AnswerMessage(e.reply);
        break;
      default:
        WrongEvent();
    }
    if (e.reply.code == 421) closing_ = true;
    return Run();
  }

  Action On(event::Challenge& e) {
    Expect(Waiting::kAuth);
    mode_ = Mode::kAuth;
    absl::StrAppend(&output_, "334 ", sasl::EncodeBase64(e.octets), "\r\n");
    return Run();
  }

  Action On(event::Authenticated&) {
    Expect(Waiting::kAuth);
    mode_ = Mode::kCommand;
    authenticated_ = true;
    Say(235, "2.7.0", "Authentication succeeded");
    return Run();
  }

  Action On(event::Done&) {
    Expect(Waiting::kDone);
    return Run();
  }

  // ---- Replies.

  void Say(int code, absl::string_view enhanced, absl::string_view text) {
    AppendReply(output_, code, enhanced, text);
  }
  void Say(const Reply& reply) { Say(reply.code, reply.enhanced, reply.text); }

  // The only reply to a command in error. The one error too many is told 421 instead.
  void Fail(int code, absl::string_view enhanced, absl::string_view text) {
    if (++errors_ <= options_.max_errors) return Say(code, enhanced, text);
    SayGoodbye("4.7.0", "Too many errors");
  }
  void Fail(const Reply& reply) { Fail(reply.code, reply.enhanced, reply.text); }

  // What others refuse: only what can never work is the client's error.
  void Refuse(const Reply& reply) {
    if (reply.code >= 500) return Fail(reply);
    Say(reply);
  }

  // Before the reply to a command that is fine and leads nowhere; false: it was one too many.
  bool TolerateJunk() {
    if (++junk_ <= kMaxJunk || ++errors_ <= options_.max_errors) return true;
    SayGoodbye("4.7.0", "Too many errors");
    return false;
  }
  void SayJunk(int code, absl::string_view enhanced, absl::string_view text) {
    if (TolerateJunk()) Say(code, enhanced, text);
  }

  void SayGoodbye(absl::string_view enhanced, absl::string_view why) {
    Say(421, enhanced, absl::StrCat(options_.hostname, " ", why, ", closing connection"));
    closing_ = true;
  }

  // Ends the session out of the client's turn.
  Action Leave(absl::string_view enhanced, absl::string_view why) {
    SayGoodbye(enhanced, why);
    const Mode mode = std::exchange(mode_, Mode::kCommand);
    if (mode == Mode::kAuth) return Ask(Waiting::kDone, action::AuthCancel{});
    if (mode == Mode::kData && !abandoned_) return Ask(Waiting::kDone, action::AbandonMessage{});
    return Run();
  }

  // ---- State.

  void ForgetHelo() {
    extended_ = false;
    helo_ = std::string();
    EndTransaction();
  }

  void EndTransaction() {
    in_transaction_ = false;
    recipient_refused_ = false;
    envelope_ = Envelope();
  }

  // The one reply to the octets after DATA. It is never replaced by 421: the message would come
  // again.
  void AnswerMessage(const Reply& reply) {
    mode_ = Mode::kCommand;
    data_.reset();
    data_ended_ = abandoned_ = false;
    EndTransaction();
    if (reply.code >= 500) ++errors_;
    Say(reply);
    if (draining_ && reply.code != 421) SayGoodbye("4.3.2", "Service shutting down");
  }

  // ---- Input.

  // Takes what was received until something must be asked.
  Action Run() {
    while (true) {
      if (closing_) {
        DropInput(input_.size());
        return Ask(Waiting::kNothing, action::Close{foreign_});
      }
      if (output_.size() > kMaxOutput) return Ask(Waiting::kDone, action::Flush{});
      std::optional<Action> action = mode_ == Mode::kData ? TakeData() : TakeLine();
      if (action.has_value()) return *std::move(action);
    }
  }

  Action ReadMore() {
    // What remains is a part of a line. An idle session holds no buffer.
    if (consumed_ > 0) DropInput(consumed_);
    return Ask(Waiting::kOctets, action::Read{});
  }

  // Assigning a short string would keep the capacity of the long one.
  void DropInput(size_t octets) {
    std::string(input_, octets).swap(input_);
    consumed_ = 0;
  }

  std::optional<Action> TakeData() {
    absl::string_view text;
    if (!data_ended_) {
      const DataReader::Result result = data_->Decode(absl::MakeSpan(input_).subspan(consumed_));
      consumed_ += result.consumed;
      data_ended_ = result.end;
      text = result.text;
    }
    if (data_->defect() != DataReader::Defect::kNone) {
      if (!std::exchange(abandoned_, true)) {
        return Ask(Waiting::kDone, action::AbandonMessage{});
      }
      if (data_ended_) {
        AnswerMessage(ReplyTo(data_->defect()));
        return std::nullopt;
      }
      if (data_->octets() > options_.max_message_octets + kMaxSwallowed) {
        return Leave("4.3.4", "Message has no end");
      }
      return ReadMore();
    }
    if (!text.empty()) return Ask(Waiting::kDone, action::Body{text});
    if (data_ended_) return Ask(Waiting::kCommit, action::EndMessage{});
    return ReadMore();
  }

  std::optional<Action> TakeLine() {
    const bool authenticating = mode_ == Mode::kAuth;
    const absl::string_view input = absl::string_view(input_).substr(consumed_);
    if (protocol::BeginsTls(input)) return Foreign("TLS begins by STARTTLS, or on another port");
    const CommandReader::Result result =
        commands_.Read(input, authenticating, options_.submission && secure_);
    consumed_ += result.consumed;
    if (result.status == CommandReader::Status::kIncomplete) return ReadMore();
    if (result.status == CommandReader::Status::kLine) {
      return authenticating ? AuthResponse(result.line) : Dispatch(result.line);
    }
    if (result.status == CommandReader::Status::kBroken) {
      // Two sides that see different lines must not go on. Postfix too disconnects
      // (smtpd_forbid_bare_newline = reject).
      Say(500, "5.5.2", "Lines end with CRLF, closing connection");
      closing_ = true;
    } else if (result.status == CommandReader::Status::kNul) {
      Fail(500, "5.5.2", "NUL in a command");
    } else if (authenticating) {
      Fail(500, "5.5.6", "Authentication exchange line is too long");  // RFC 4954 6
    } else {
      Fail(500, "5.5.2", "Line too long");
    }
    return authenticating ? CancelAuth() : std::nullopt;
  }

  // ---- Commands. Each gives one reply, or an action whose answer does.

  // Whatever comes after it is no command of the client's.
  std::optional<Action> Foreign(absl::string_view why) {
    consumed_ = input_.size();
    Say(554, "5.5.1", why);
    closing_ = true;
    foreign_ = true;
    return std::nullopt;
  }

  std::optional<Action> Dispatch(absl::string_view line) {
    if (protocol::BeginsHttp(line)) return Foreign("This is SMTP, not HTTP");
    const Command command = ParseCommand(line);
    if (mode_ == Mode::kRefused && command.verb != Verb::kQuit) {
      Fail(503, "5.5.1", "No service here, send QUIT");
      return std::nullopt;
    }
    if (options_.require_tls && !secure_ && !AllowedBeforeTls(command.verb)) {
      Fail(530, "5.7.0", "Must issue a STARTTLS command first");
      return std::nullopt;
    }
    switch (command.verb) {
      case Verb::kHelo:
      case Verb::kEhlo:
        Hello(command);
        return std::nullopt;
      case Verb::kMail:
        return Mail(command.argument);
      case Verb::kRcpt:
        return Rcpt(command.argument);
      case Verb::kData:
        return Data(command.argument);
      case Verb::kRset:
        if (!command.argument.empty()) return NoArgument();
        EndTransaction();
        SayJunk(250, "2.0.0", "OK");
        return std::nullopt;
      case Verb::kNoop:
        SayJunk(250, "2.0.0", "OK");
        return std::nullopt;
      case Verb::kQuit:
        if (!command.argument.empty()) return NoArgument();
        Say(221, "2.0.0", absl::StrCat(options_.hostname, " Goodbye"));
        closing_ = true;
        return std::nullopt;
      case Verb::kHelp:
        SayJunk(214, "2.0.0", "See RFC 5321");
        return std::nullopt;
      case Verb::kVrfy:
        // RFC 5321 3.5.3: no information, and no refusal to deliver.
        if (command.argument.empty()) {
          Fail(501, "5.5.4", "Syntax: VRFY string");
        } else {
          SayJunk(252, "2.0.0", "Cannot verify, but will take mail and try to deliver");
        }
        return std::nullopt;
      case Verb::kStartTls:
        return StartTls(command.argument);
      case Verb::kAuth:
        return Auth(command.argument);
      case Verb::kNotImplemented:
        Fail(502, "5.5.1", "Command not implemented");
        return std::nullopt;
      case Verb::kUnknown:
        break;
    }
    Fail(500, "5.5.1", "Command not recognized");
    return std::nullopt;
  }

  static bool AllowedBeforeTls(Verb verb) {
    return verb == Verb::kHelo || verb == Verb::kEhlo || verb == Verb::kStartTls ||
           verb == Verb::kNoop || verb == Verb::kRset || verb == Verb::kQuit;
  }

  std::optional<Action> NoArgument() {
    Fail(501, "5.5.4", "Command takes no argument");
    return std::nullopt;
  }

  void Hello(const Command& command) {
    // A user's client says what its owner called it; what counts is who logs in.
    const bool good =
        options_.submission ? !command.argument.empty() : IsHeloName(command.argument);
    if (!good) return Fail(501, "5.5.4", "Syntax: EHLO hostname");
    ForgetHelo();  // RFC 5321 4.1.4: as RSET.
    helo_ = std::string(command.argument.substr(0, kMaxHeloOctets));
    extended_ = command.verb == Verb::kEhlo;
    if (!TolerateJunk()) return;
    // RFC 2034 4: the reply to HELO and EHLO has no enhanced code.
    if (!extended_) return Say(250, "", options_.hostname);
    absl::StrAppend(&output_, "250-", options_.hostname, "\r\n250-PIPELINING\r\n250-SIZE ",
                    options_.max_message_octets, "\r\n250-8BITMIME\r\n");
    if (options_.starttls && !secure_) absl::StrAppend(&output_, "250-STARTTLS\r\n");
    if (options_.submission && secure_ && !authenticated_) {
      absl::StrAppend(&output_, "250-AUTH ", absl::StrJoin(*mechanisms_, " "), "\r\n");
    }
    absl::StrAppend(&output_, "250-ENHANCEDSTATUSCODES\r\n250 SMTPUTF8\r\n");
  }

  std::optional<Action> Mail(absl::string_view argument) {
    if (helo_.empty()) {
      Fail(503, "5.5.1", "Send EHLO first");
    } else if (options_.submission && !authenticated_) {
      Fail(530, "5.7.0", "Authentication required");  // RFC 4954 6
    } else if (in_transaction_) {
      Fail(503, "5.5.1", "Nested MAIL command");
    } else {
      std::variant<MailArguments, Reply> parsed =
          ParseMail(argument, {.max_octets = options_.max_message_octets,
                               .extended = extended_,
                               .auth_parameter = options_.submission});
      if (const Reply* reply = std::get_if<Reply>(&parsed)) {
        Fail(*reply);
      } else {
        MailArguments& arguments = std::get<MailArguments>(parsed);
        envelope_.sender = std::move(arguments.sender);
        envelope_.declared_octets = arguments.declared_octets;
        envelope_.eight_bit = arguments.eight_bit;
        envelope_.smtputf8 = arguments.smtputf8;
        return Ask(Waiting::kSender, action::CheckSender{});
      }
    }
    return std::nullopt;
  }

  std::optional<Action> Rcpt(absl::string_view argument) {
    if (!in_transaction_) {
      Fail(503, "5.5.1", "Send MAIL first");
      return std::nullopt;
    }
    if (envelope_.recipients.size() >= options_.max_recipients) {
      const Reply reply = TooManyRecipients();
      ++overshoot_ > kMaxOvershoot ? Fail(reply) : Say(reply);
      return std::nullopt;
    }
    std::variant<std::string, Reply> parsed = ParseRcpt(argument, envelope_.smtputf8);
    if (const Reply* reply = std::get_if<Reply>(&parsed)) {
      recipient_refused_ = true;
      Fail(*reply);
      return std::nullopt;
    }
    recipient_ = std::get<std::string>(std::move(parsed));
    return Ask(Waiting::kRecipient, action::CheckRecipient{recipient_});
  }

  std::optional<Action> Data(absl::string_view argument) {
    if (!argument.empty()) return NoArgument();
    if (!in_transaction_) {
      Fail(503, "5.5.1", "Send MAIL first");
    } else if (!envelope_.recipients.empty()) {
      return Ask(Waiting::kMessage, action::BeginMessage{});
    } else if (recipient_refused_) {
      // What a pipelining client gets after its recipients were refused (RFC 2920 3.1); no error of
      // its own.
      SayJunk(554, "5.5.1", "No valid recipients");
    } else {
      Fail(503, "5.5.1", "Send RCPT first");
    }
    return std::nullopt;
  }

  std::optional<Action> StartTls(absl::string_view argument) {
    if (!argument.empty()) return NoArgument();
    if (secure_) {
      Fail(503, "5.5.1", "TLS is active already");
    } else if (!options_.starttls) {
      Fail(502, "5.5.1", "Command not implemented");
    } else {
      Say(220, "2.0.0", "Ready to start TLS");
      // Commands that were sent ahead in clear must not be taken for commands within TLS
      // (RFC 3207 4.2; CVE-2011-0411).
      DropInput(input_.size());
      return Ask(Waiting::kTls, action::StartTls{});
    }
    return std::nullopt;
  }

  std::optional<Action> Auth(absl::string_view argument) {
    const size_t space = argument.find(' ');
    const std::string mechanism = absl::AsciiStrToUpper(argument.substr(0, space));
    if (!options_.submission) {
      Fail(503, "5.5.1", "Authentication is not available here");
    } else if (!secure_) {
      Fail(538, "5.7.11", "Encryption required for requested authentication mechanism");
    } else if (!extended_) {
      Fail(503, "5.5.1", "Send EHLO first");
    } else if (authenticated_) {
      // That covers AUTH within a transaction (RFC 4954 4): there is none before authentication.
      Fail(503, "5.5.1", "Already authenticated");
    } else if (mechanism.empty()) {
      Fail(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]");
    } else if (std::find(mechanisms_->begin(), mechanisms_->end(), mechanism) ==
               mechanisms_->end()) {
      Fail(504, "5.5.4", "Authentication mechanism not supported");
    } else {
      action::AuthStart start{mechanism, std::nullopt};
      if (space != absl::string_view::npos) {
        absl::string_view text = argument.substr(space + 1);
        if (text == "=") text = "";  // RFC 4954 4: an empty initial response.
        if (!sasl::DecodeBase64(text, start.initial_response.emplace())) {
          Fail(501, "5.5.2", "Cannot decode the response");
          return std::nullopt;
        }
      }
      return Ask(Waiting::kAuth, std::move(start));
    }
    return std::nullopt;
  }

  std::optional<Action> AuthResponse(absl::string_view line) {
    action::AuthRespond respond;
    // An empty line is an empty answer; curl sends "=", as for an empty initial response.
    if (line == "=") line = "";
    if (line == "*") {
      Fail(501, "5.7.0", "Authentication cancelled");
    } else if (!sasl::DecodeBase64(line, respond.response)) {
      Fail(501, "5.5.2", "Cannot decode the response");
    } else {
      return Ask(Waiting::kAuth, std::move(respond));
    }
    return CancelAuth();
  }

  std::optional<Action> CancelAuth() {
    mode_ = Mode::kCommand;
    return Ask(Waiting::kDone, action::AuthCancel{});
  }

  const ServerOptions& options_;
  sasl::MechanismList mechanisms_ = sasl::PlainAndLogin();
  std::string output_;
  std::string input_;
  // Octets of input_ that are done with.
  size_t consumed_ = 0;
  CommandReader commands_;
  std::unique_ptr<DataReader> data_;
  Envelope envelope_;
  std::string helo_;
  // Whom CheckRecipient asks about.
  std::string recipient_;
  size_t errors_ = 0;
  size_t junk_ = 0;
  size_t overshoot_ = 0;
  Waiting waiting_ = Waiting::kStart;
  Mode mode_ = Mode::kCommand;
  bool secure_;
  bool authenticated_ = false;
  // EHLO, not HELO.
  bool extended_ = false;
  bool in_transaction_ = false;
  bool recipient_refused_ = false;
  bool data_ended_ = false;
  // AbandonMessage was given for this message.
  bool abandoned_ = false;
  bool draining_ = false;
  bool closing_ = false;
  bool foreign_ = false;
};

ServerSession::ServerSession(const ServerOptions& options)
    : impl_(std::make_unique<Impl>(options)) {}
ServerSession::~ServerSession() = default;

Action ServerSession::Start() { return impl_->Start(); }
Action ServerSession::Resume(Event event) { return impl_->Resume(std::move(event)); }
void ServerSession::Offer(sasl::MechanismList mechanisms) { impl_->Offer(std::move(mechanisms)); }
bool ServerSession::has_output() const { return impl_->has_output(); }
std::string ServerSession::TakeOutput() { return impl_->TakeOutput(); }
const Envelope& ServerSession::envelope() const { return impl_->envelope(); }
absl::string_view ServerSession::helo() const { return impl_->helo(); }
std::string ServerSession::protocol_name() const { return impl_->protocol_name(); }
bool ServerSession::secure() const { return impl_->secure(); }
bool ServerSession::authenticated() const { return impl_->authenticated(); }

}  // namespace postern::smtp
