#include "services/protocol/pop3/server_session.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "services/protocol/foreign/foreign.h"
#include "services/protocol/pop3/dot_stuffer.h"
#include "services/protocol/pop3/line_reader.h"
#include "services/protocol/sasl/base64.h"

namespace postern::pop3 {

namespace {

// Output is sent when it is this long, so that a listing of 100 000 messages or a burst of
// pipelined commands needs no more memory than that.
constexpr size_t kFlushOctets = 16 << 10;
// authentication.proto: the longest answer to a challenge, decoded.
constexpr size_t kMaxResponseOctets = 8192;

absl::string_view Words(Failure failure) {
  switch (failure) {
    case Failure::kAuth:
      return "[AUTH] Wrong user name or password";
    case Failure::kInUse:
      return "[IN-USE] Another session has this maildrop open";
    case Failure::kTemporary:
      return "[SYS/TEMP] Temporary failure, try again later";
    case Failure::kPermanent:
      return "[SYS/PERM] This can't be done";
  }
  return "[SYS/TEMP] Temporary failure, try again later";
}

bool DecodeResponse(absl::string_view text, std::string* octets) {
  return sasl::DecodeBase64(text, *octets) && octets->size() <= kMaxResponseOctets;
}

// Digits alone; false when it doesn't fit.
bool ParseNumber(absl::string_view text, uint32_t* number) {
  if (text.empty() || text.size() > 10) return false;
  if (!std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isdigit(c); })) {
    return false;
  }
  return absl::SimpleAtoi(text, number);
}

}  // namespace

class ServerSession::Impl {
 public:
  explicit Impl(const ServerOptions& options) : options_(options), secure_(options.implicit_tls) {}

  void Offer(sasl::MechanismList mechanisms) { mechanisms_ = std::move(mechanisms); }

  Action Start() {
    // No timestamp in angle brackets: APOP is not offered.
    Ok(absl::StrCat(options_.hostname, " POP3 server ready"));
    return Await(Waiting::kOctets, action::Read{});
  }

  Action Resume(Event&& event) {
    return std::visit([this](auto&& e) { return On(std::forward<decltype(e)>(e)); },
                      std::move(event));
  }

  bool has_output() const { return !output_.empty(); }
  std::string TakeOutput() { return std::exchange(output_, std::string()); }
  bool secure() const { return secure_; }
  bool greeted() const { return greeted_; }

 private:
  enum class State { kAuthorization, kTransaction, kClosed };
  // What the last action asked for.
  enum class Waiting {
    kOctets,
    kFlush,
    kTls,
    kLogin,  // Challenge, Authenticated or Failed.
    kCancel,
    kOpen,
    kMessage,
    kCommit,
    kNothing,
  };
  enum class Listing { kNone, kSizes, kUids };

  Action Await(Waiting waiting, Action action) {
    waiting_ = waiting;
    return action;
  }

  // An event that does not answer the last action is the driver's bug.
  void Expect(Waiting waiting) const {
    if (waiting_ != waiting) std::abort();
  }

  // --- Events ---

  Action On(event::Received e) {
    Expect(Waiting::kOctets);
    lines_.Append(e.octets);
    return Continue();
  }

  // RFC 1939 3: the server closes the connection without removing any messages or sending any
  // response.
  Action On(event::TimedOut) { return Close(); }

  Action On(event::Drain) {
    Expect(Waiting::kOctets);
    Err("[SYS/TEMP] The server is going down, come back in a moment");
    return Close();
  }

  Action On(event::TlsEstablished) {
    Expect(Waiting::kTls);
    secure_ = true;
    return Continue();
  }

  Action On(event::Challenge e) {
    Expect(Waiting::kLogin);
    if (!exchanging_) {
      // PASS has said all there is to say.
      return CancelLogin(Words(Failure::kPermanent));
    }
    awaiting_response_ = true;
    absl::StrAppend(&output_, "+ ", sasl::EncodeBase64(e.octets), "\r\n");
    return Continue();
  }

  Action On(event::Authenticated) {
    Expect(Waiting::kLogin);
    exchanging_ = false;
    user_.clear();
    return Await(Waiting::kOpen, action::OpenMaildrop{});
  }

  Action On(event::Opened e) {
    Expect(Waiting::kOpen);
    state_ = State::kTransaction;
    uid_validity_ = e.uid_validity;
    messages_ = std::move(e.messages);
    for (const Message& message : messages_) total_octets_ += message.octets;
    Undelete();
    Ok(absl::StrCat("Maildrop has ", count_, " messages (", octets_, " octets)"));
    return Continue();
  }

  Action On(event::Failed e) {
    switch (waiting_) {
      case Waiting::kLogin:
        exchanging_ = false;
        // USER may be sent again (RFC 1939 7).
        user_.clear();
        if (e.failure != Failure::kAuth) return Fault(Words(e.failure));
        Err(Words(e.failure));
        if (++auth_failures_ >= options_.max_auth_failures) return Close();
        return Continue();
      case Waiting::kOpen:
        return Fault(Words(e.failure));
      case Waiting::kMessage:
        // Half a message can only be cut off.
        if (message_begun_) return Close();
        Err(Words(e.failure));
        return Continue();
      case Waiting::kCommit:
        Err(absl::StrCat(Words(e.failure), "; no message was deleted"));
        return Close();
      default:
        std::abort();
    }
  }

  Action On(event::MessagePiece e) {
    Expect(Waiting::kMessage);
    BeginMessage();
    stuffer_.Append(e.octets, &output_);
    return Await(Waiting::kMessage, action::Flush{});
  }

  Action On(event::MessageEnd) {
    Expect(Waiting::kMessage);
    BeginMessage();
    stuffer_.Finish(&output_);
    return Continue();
  }

  Action On(event::Done) {
    switch (waiting_) {
      case Waiting::kFlush:
        return Continue();
      case Waiting::kCancel:
        return Fault(std::exchange(cancel_words_, std::string()));
      case Waiting::kCommit:
        Ok("Goodbye");
        return Close();
      default:
        std::abort();
    }
  }

  // --- Commands ---

  // Goes on with what there is to do: a listing, then the lines that have come; else reads.
  Action Continue() {
    while (true) {
      if (listing_ != Listing::kNone) ContinueListing();
      if (output_.size() >= kFlushOctets) return Await(Waiting::kFlush, action::Flush{});
      if (protocol::BeginsTls(lines_.waiting())) {
        Err("TLS begins by STLS, or on another port");
        return Close(/*foreign=*/true);
      }
      const Line line = lines_.Next(awaiting_response_);
      if (line.kind == Line::Kind::kNone) return Await(Waiting::kOctets, action::Read{});
      std::optional<Action> action = awaiting_response_ ? OnResponse(line) : OnCommandLine(line);
      if (action.has_value()) return *std::move(action);
    }
  }

  // What the client says to a challenge (RFC 5034 4).
  std::optional<Action> OnResponse(const Line& line) {
    awaiting_response_ = false;
    if (line.kind == Line::Kind::kTooLong) return CancelLogin("The answer is too long");
    if (line.kind == Line::Kind::kMalformed) return CancelLogin("Lines end with CRLF");
    if (line.text == "*") return CancelLogin("Authentication cancelled");
    action::AuthRespond respond;
    // An empty line is an empty answer; curl sends "=", as for an empty initial response.
    const absl::string_view response = line.text == "=" ? absl::string_view() : line.text;
    if (!DecodeResponse(response, &respond.response)) return CancelLogin("That is not base64");
    return Await(Waiting::kLogin, std::move(respond));
  }

  std::optional<Action> OnCommandLine(const Line& line) {
    if (line.kind == Line::Kind::kTooLong) return Fault("The line is too long");
    if (line.kind == Line::Kind::kMalformed) return Fault("Lines end with CRLF");
    // Whatever comes after it is no command of the client's.
    if (protocol::BeginsHttp(line.text)) {
      Err("This is POP3, not HTTP");
      return Close(/*foreign=*/true);
    }
    const size_t space = line.text.find(' ');
    const absl::string_view keyword = line.text.substr(0, space);
    std::optional<absl::string_view> argument;
    if (space != absl::string_view::npos) argument = line.text.substr(space + 1);
    // Clients send more blanks than RFC 1939 3 has. Those of a password are its own.
    if (argument.has_value() && !absl::EqualsIgnoreCase(keyword, "PASS")) {
      argument = absl::StripAsciiWhitespace(*argument);
      if (argument->empty()) argument.reset();
    }

    for (const Command& command : kCommands) {
      if (!absl::EqualsIgnoreCase(keyword, command.keyword)) continue;
      if (command.state.has_value() && *command.state != state_) {
        return Fault(state_ == State::kAuthorization ? "Log in first"
                                                     : "You are logged in already");
      }
      if (command.argument == Argument::kNone && argument.has_value()) {
        return Fault(absl::StrCat(command.keyword, " takes no argument"));
      }
      if (command.argument == Argument::kRequired && argument.value_or("").empty()) {
        return Fault(absl::StrCat(command.keyword, " wants an argument"));
      }
      return (this->*command.run)(argument);
    }
    return Fault("Unknown command");
  }

  using Arg = std::optional<absl::string_view>;

  std::optional<Action> Capa(Arg) {
    // RFC 2449 5; STLS of RFC 2595 4; SASL of RFC 5034 3; AUTH-RESP-CODE of RFC 3206 5.
    Ok("Capability list follows");
    output_ += "TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\n";
    if (secure_)
      absl::StrAppend(&output_, "USER\r\nSASL ", absl::StrJoin(*mechanisms_, " "), "\r\n");
    if (CanStartTls()) output_ += "STLS\r\n";
    output_ += ".\r\n";
    return std::nullopt;
  }

  std::optional<Action> User(Arg argument) {
    if (!secure_) return RefuseInClear();
    greeted_ = true;
    user_ = std::string(*argument);
    Ok("Send the password");
    return std::nullopt;
  }

  std::optional<Action> Pass(Arg argument) {
    if (!secure_) return RefuseInClear();
    if (user_.empty()) return Fault("USER comes first");
    // RFC 4616: no line has a NUL in it.
    return Await(Waiting::kLogin,
                 action::AuthStart{"PLAIN", absl::StrCat(absl::string_view("\0", 1), user_,
                                                         absl::string_view("\0", 1), *argument)});
  }

  // RFC 1939 7: its secret would have to be stored so that it can be read back.
  std::optional<Action> Apop(Arg) {
    if (!secure_) return RefuseInClear();
    return Fault("APOP is not supported");
  }

  std::optional<Action> Auth(Arg argument) {
    if (!secure_) return RefuseInClear();
    if (!argument.has_value()) {
      // Not in RFC 5034, but how Outlook asks what there is.
      Ok("Mechanisms follow");
      absl::StrAppend(&output_, absl::StrJoin(*mechanisms_, "\r\n"), "\r\n.\r\n");
      return std::nullopt;
    }
    const size_t space = argument->find(' ');
    action::AuthStart start;
    start.mechanism = absl::AsciiStrToUpper(argument->substr(0, space));
    if (std::find(mechanisms_->begin(), mechanisms_->end(), start.mechanism) ==
        mechanisms_->end()) {
      return Fault("Unknown authentication mechanism");
    }
    if (space != absl::string_view::npos) {
      const absl::string_view response = argument->substr(space + 1);
      start.initial_response.emplace();
      // "=" is an empty one (RFC 5034 4).
      if (response != "=" &&
          (response.empty() || !DecodeResponse(response, &*start.initial_response))) {
        return Fault("That is not base64");
      }
    }
    greeted_ = exchanging_ = true;
    return Await(Waiting::kLogin, std::move(start));
  }

  std::optional<Action> Stls(Arg) {
    if (secure_) return Fault("TLS is active already");
    if (!CanStartTls()) return Fault("TLS is not available here");
    Ok("Begin the TLS negotiation");
    // Nothing that was said in clear counts any more (RFC 2595 4), nor what came with it.
    user_.clear();
    lines_.Clear();
    return Await(Waiting::kTls, action::StartTls{});
  }

  std::optional<Action> Stat(Arg) {
    Ok(absl::StrCat(count_, " ", octets_));
    return std::nullopt;
  }

  std::optional<Action> List(Arg argument) {
    if (!argument.has_value()) {
      Ok(absl::StrCat(count_, " messages (", octets_, " octets)"));
      return BeginListing(Listing::kSizes);
    }
    const std::optional<size_t> index = Find(*argument);
    if (index.has_value()) Ok(absl::StrCat(*index + 1, " ", messages_[*index].octets));
    return std::nullopt;
  }

  std::optional<Action> Uidl(Arg argument) {
    if (!argument.has_value()) {
      Ok("Unique ids follow");
      return BeginListing(Listing::kUids);
    }
    const std::optional<size_t> index = Find(*argument);
    if (index.has_value()) Ok(absl::StrCat(*index + 1, " ", UniqueId(messages_[*index])));
    return std::nullopt;
  }

  std::optional<Action> Retr(Arg argument) {
    const std::optional<size_t> index = Find(*argument);
    if (!index.has_value()) return std::nullopt;
    return Fetch(*index, std::nullopt);
  }

  std::optional<Action> Top(Arg argument) {
    const size_t space = argument->find(' ');
    uint32_t lines = 0;
    if (space == absl::string_view::npos ||
        !ParseNumber(absl::StripLeadingAsciiWhitespace(argument->substr(space)), &lines)) {
      return Fault("TOP wants a message and a number of lines");
    }
    const std::optional<size_t> index = Find(argument->substr(0, space));
    if (!index.has_value()) return std::nullopt;
    return Fetch(*index, lines);
  }

  std::optional<Action> Dele(Arg argument) {
    const std::optional<size_t> index = Find(*argument);
    if (!index.has_value()) return std::nullopt;
    // Allocated by the first DELE: most sessions have none.
    deleted_.resize(messages_.size());
    deleted_[*index] = true;
    --count_;
    octets_ -= messages_[*index].octets;
    Ok(absl::StrCat("Message ", *index + 1, " deleted"));
    return std::nullopt;
  }

  std::optional<Action> Rset(Arg) {
    Undelete();
    Ok(absl::StrCat("Maildrop has ", count_, " messages (", octets_, " octets)"));
    return std::nullopt;
  }

  std::optional<Action> Noop(Arg) {
    Ok("Nothing done");
    return std::nullopt;
  }

  std::optional<Action> Quit(Arg) {
    if (state_ == State::kAuthorization) {
      Ok("Goodbye");
      return Close();
    }
    // RFC 1939 6: the UPDATE state, entered by QUIT alone.
    action::Commit commit;
    for (size_t i = 0; i < deleted_.size(); ++i) {
      if (deleted_[i]) commit.deleted_uids.push_back(messages_[i].uid);
    }
    return Await(Waiting::kCommit, std::move(commit));
  }

  // --- Parts of commands ---

  bool CanStartTls() const { return options_.stls && !secure_; }

  // What this listener's settings say doesn't matter: no credential crosses the network in clear.
  std::optional<Action> RefuseInClear() {
    return Fault(CanStartTls() ? "[SYS/PERM] No credentials in clear: STLS first"
                               : "[SYS/PERM] No credentials in clear: use the TLS port");
  }

  // Nullopt after an -ERR: not a number, no such message, or deleted (RFC 1939 5: "messages marked
  // as deleted are not listed", nor may any command refer to them).
  std::optional<size_t> Find(absl::string_view text) {
    uint32_t number;
    if (!ParseNumber(text, &number) || number == 0 || number > messages_.size()) {
      Err(absl::StrCat("No such message, the maildrop has ", messages_.size()));
      return std::nullopt;
    }
    const size_t index = number - 1;
    if (IsDeleted(index)) {
      Err(absl::StrCat("Message ", number, " is deleted"));
      return std::nullopt;
    }
    return index;
  }

  bool IsDeleted(size_t index) const { return !deleted_.empty() && deleted_[index]; }

  void Undelete() {
    std::vector<bool>().swap(deleted_);
    count_ = messages_.size();
    octets_ = total_octets_;
  }

  // RFC 1939 7: unique in the maildrop, and the same for ever.
  std::string UniqueId(const Message& message) const {
    return absl::StrFormat("%08x%x", uid_validity_, message.uid);
  }

  std::optional<Action> BeginListing(Listing listing) {
    listing_ = listing;
    next_listed_ = 0;
    return std::nullopt;
  }

  void ContinueListing() {
    for (; next_listed_ < messages_.size() && output_.size() < kFlushOctets; ++next_listed_) {
      if (IsDeleted(next_listed_)) continue;
      const Message& message = messages_[next_listed_];
      if (listing_ == Listing::kSizes) {
        absl::StrAppend(&output_, next_listed_ + 1, " ", message.octets, "\r\n");
      } else {
        absl::StrAppend(&output_, next_listed_ + 1, " ", UniqueId(message), "\r\n");
      }
    }
    if (next_listed_ < messages_.size()) return;
    output_ += ".\r\n";
    listing_ = Listing::kNone;
  }

  std::optional<Action> Fetch(size_t index, std::optional<uint32_t> body_lines) {
    stuffer_ = DotStuffer();
    message_begun_ = false;
    message_words_ = body_lines.has_value() ? "Top of the message follows"
                                            : absl::StrCat(messages_[index].octets, " octets");
    return Await(Waiting::kMessage, action::Retrieve{messages_[index].uid, body_lines});
  }

  void BeginMessage() {
    if (message_begun_) return;
    message_begun_ = true;
    Ok(message_words_);
  }

  Action CancelLogin(absl::string_view words) {
    exchanging_ = false;
    user_.clear();
    cancel_words_ = std::string(words);
    return Await(Waiting::kCancel, action::AuthCancel{});
  }

  // --- Replies ---

  void Ok(absl::string_view words) { absl::StrAppend(&output_, "+OK ", words, "\r\n"); }
  void Err(absl::string_view words) { absl::StrAppend(&output_, "-ERR ", words, "\r\n"); }

  // An error that a sound client doesn't make often; too many end the session.
  Action Fault(absl::string_view words) {
    Err(words);
    if (++errors_ >= options_.max_errors) return Close();
    return Continue();
  }

  Action Close(bool foreign = false) {
    state_ = State::kClosed;
    lines_.Clear();
    return Await(Waiting::kNothing, action::Close{foreign});
  }

  // kIgnored: as Dovecot takes it.
  enum class Argument { kNone, kIgnored, kOptional, kRequired };
  struct Command {
    absl::string_view keyword;
    Argument argument;
    // Nullopt: both.
    std::optional<State> state;
    std::optional<Action> (Impl::*run)(Arg);
  };
  static const Command kCommands[15];

  const ServerOptions& options_;
  bool secure_;
  sasl::MechanismList mechanisms_ = sasl::PlainAndLogin();
  State state_ = State::kAuthorization;
  Waiting waiting_ = Waiting::kNothing;
  LineReader lines_;
  std::string output_;
  size_t errors_ = 0;
  size_t auth_failures_ = 0;

  std::string user_;
  bool greeted_ = false;
  // An AUTH exchange, and its client's turn in it.
  bool exchanging_ = false;
  bool awaiting_response_ = false;
  std::string cancel_words_;

  uint32_t uid_validity_ = 0;
  std::vector<Message> messages_;
  uint64_t total_octets_ = 0;
  // Empty, or as many as messages_.
  std::vector<bool> deleted_;
  // Of what is not deleted.
  uint64_t count_ = 0;
  uint64_t octets_ = 0;

  Listing listing_ = Listing::kNone;
  size_t next_listed_ = 0;

  DotStuffer stuffer_;
  bool message_begun_ = false;
  std::string message_words_;
};

const ServerSession::Impl::Command ServerSession::Impl::kCommands[15] = {
    {"RETR", Argument::kRequired, State::kTransaction, &Impl::Retr},
    {"DELE", Argument::kRequired, State::kTransaction, &Impl::Dele},
    {"LIST", Argument::kOptional, State::kTransaction, &Impl::List},
    {"UIDL", Argument::kOptional, State::kTransaction, &Impl::Uidl},
    {"TOP", Argument::kRequired, State::kTransaction, &Impl::Top},
    {"STAT", Argument::kIgnored, State::kTransaction, &Impl::Stat},
    {"RSET", Argument::kIgnored, State::kTransaction, &Impl::Rset},
    {"NOOP", Argument::kIgnored, State::kTransaction, &Impl::Noop},
    {"QUIT", Argument::kIgnored, std::nullopt, &Impl::Quit},
    {"CAPA", Argument::kNone, std::nullopt, &Impl::Capa},
    {"USER", Argument::kRequired, State::kAuthorization, &Impl::User},
    {"PASS", Argument::kRequired, State::kAuthorization, &Impl::Pass},
    {"AUTH", Argument::kOptional, State::kAuthorization, &Impl::Auth},
    {"STLS", Argument::kNone, State::kAuthorization, &Impl::Stls},
    {"APOP", Argument::kOptional, State::kAuthorization, &Impl::Apop},
};

ServerSession::ServerSession(const ServerOptions& options)
    : impl_(std::make_unique<Impl>(options)) {}
ServerSession::~ServerSession() = default;

Action ServerSession::Start() { return impl_->Start(); }
Action ServerSession::Resume(Event event) { return impl_->Resume(std::move(event)); }
void ServerSession::Offer(sasl::MechanismList mechanisms) { impl_->Offer(std::move(mechanisms)); }
bool ServerSession::has_output() const { return impl_->has_output(); }
std::string ServerSession::TakeOutput() { return impl_->TakeOutput(); }
bool ServerSession::secure() const { return impl_->secure(); }
bool ServerSession::greeted() const { return impl_->greeted(); }

}  // namespace postern::pop3
