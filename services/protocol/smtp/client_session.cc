#include "services/protocol/smtp/client_session.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "services/protocol/mail/address.h"
#include "services/protocol/smtp/reply_reader.h"
#include "services/text/utf8.h"

namespace postern::smtp {
namespace {

// Commands sent before their replies are read: so few that neither side's buffers fill while both
// write (RFC 2920 3.1).
constexpr size_t kMaxPipelined = 8 << 10;

[[noreturn]] void WrongEvent() {
  std::fputs("smtp::ClientSession: the event does not answer the last action\n", stderr);
  std::abort();
}

}  // namespace

// RFC 5321 4.5.3.1.6, without CRLF; a dot for transparency is not counted.
constexpr size_t kMaxLineOctets = 998;

class ClientSession::Impl {
 public:
  Impl(const ClientOptions& options, ClientTransaction transaction)
      : options_(options),
        transaction_(std::move(transaction)),
        answers_(transaction_.recipients.size()) {}

  ClientAction Start() {
    if (step_ != Step::kStart) WrongEvent();
    RefuseAddresses();
    if (later_.empty()) return Finish();
    step_ = Step::kGreeting;
    return AwaitReply();
  }

  ClientAction Resume(ClientEvent&& event) {
    if (waiting_ == Waiting::kNothing) WrongEvent();
    return std::visit([this](auto& e) { return On(e); }, event);
  }

 private:
  enum class Step {
    kStart,
    kGreeting,
    kEhlo,
    kHelo,
    kStartTls,
    // MAIL, RCPT and DATA, as many at once as the server allows.
    kEnvelope,
    kBody,
    kEndOfData,
    kRset,
    kQuit,
  };
  enum class Waiting { kNothing, kSent, kReply, kTls, kBody };

  // ---- Events.

  ClientAction On(client_event::Sent&) {
    Expect(Waiting::kSent);
    if (step_ == Step::kQuit) return Finish();
    if (step_ == Step::kBody) return WantBody();
    return AwaitReply();
  }

  ClientAction On(client_event::Received& e) {
    Expect(Waiting::kReply);
    replies_.Append(e.octets);
    return AwaitReply();
  }

  ClientAction On(client_event::TlsEstablished&) {
    Expect(Waiting::kTls);
    tls_ = true;
    return SendEhlo();
  }

  ClientAction On(client_event::Body& e) {
    Expect(Waiting::kBody);
    std::string octets;
    octets.reserve(e.octets.size() + 64);
    AppendStuffed(e.octets, octets);
    return Write(std::move(octets));
  }

  ClientAction On(client_event::BodyEnd&) {
    Expect(Waiting::kBody);
    step_ = Step::kEndOfData;
    // RFC 5321 4.1.1.4: the message's last line has its CRLF.
    return Write(at_line_start_ ? ".\r\n" : after_cr_ ? "\n.\r\n" : "\r\n.\r\n");
  }

  ClientAction On(client_event::Lost& e) {
    ServerAnswer answer{0, "", e.why, ""};
    return step_ == Step::kQuit ? Finish() : FinishWith(std::move(answer));
  }

  void Expect(Waiting waiting) const {
    if (waiting_ != waiting) WrongEvent();
  }

  // ---- Actions.

  ClientAction Write(std::string octets) {
    waiting_ = Waiting::kSent;
    return client_action::Write{std::move(octets)};
  }

  ClientAction WantBody(bool from_start = false) {
    waiting_ = Waiting::kBody;
    return client_action::SendBody{from_start};
  }

  // Handles the next reply, or waits for it.
  ClientAction AwaitReply() {
    ReceivedReply reply;
    switch (replies_.Next(reply)) {
      case ReplyReader::Status::kIncomplete:
        waiting_ = Waiting::kReply;
        return client_action::Read{};
      case ReplyReader::Status::kBroken:
        return BreakOff("the server does not speak SMTP");
      case ReplyReader::Status::kReply:
        break;
    }
    return OnReply(std::move(reply));
  }

  ClientAction SendEhlo() {
    step_ = Step::kEhlo;
    return Write(absl::StrCat("EHLO ", options_.hostname, "\r\n"));
  }

  // Best effort: nobody waits for the reply, and the answers are final already.
  ClientAction Quit() {
    step_ = Step::kQuit;
    return Write("QUIT\r\n");
  }

  // Everyone without an answer gets this one; QUIT.
  ClientAction QuitWith(ServerAnswer answer) {
    AnswerRest(std::move(answer));
    return Quit();
  }

  // The same for a connection that can't be used any more.
  ClientAction FinishWith(ServerAnswer answer) {
    AnswerRest(std::move(answer));
    return Finish();
  }

  ClientAction BreakOff(absl::string_view why) {
    return FinishWith({0, "", absl::StrCat("protocol error: ", why), ""});
  }

  ClientAction Finish() {
    waiting_ = Waiting::kNothing;
    client_action::Finished finished;
    for (std::optional<ServerAnswer>& answer : answers_) {
      finished.answers.push_back(std::move(answer).value_or(ServerAnswer()));
    }
    finished.tls = tls_;
    return finished;
  }

  // ---- Answers.

  static void Answer(std::vector<size_t>& recipients, const ServerAnswer& answer,
                     std::vector<std::optional<ServerAnswer>>& answers) {
    for (const size_t i : recipients) answers[i] = answer;
    recipients.clear();
  }

  // Of the transaction under way.
  void AnswerOpen(const ServerAnswer& answer) { Answer(open_, answer, answers_); }

  // Everyone whom nothing is settled for. `command` is filled in when empty.
  void AnswerRest(ServerAnswer answer) {
    if (answer.command.empty()) answer.command = CommandName();
    AnswerOpen(answer);
    // Their transaction was yet to come.
    if (step_ >= Step::kEnvelope) answer.command = "MAIL FROM";
    Answer(too_many_, answer, answers_);
    Answer(later_, answer, answers_);
  }

  // The command whose reply comes next.
  std::string CommandName() const {
    switch (step_) {
      case Step::kStart:
      case Step::kGreeting:
        return "CONNECT";
      case Step::kEhlo:
        return "EHLO";
      case Step::kHelo:
        return "HELO";
      case Step::kStartTls:
        return "STARTTLS";
      case Step::kEnvelope:
        return answered_ == 0 ? "MAIL FROM" : answered_ <= envelope_.size() ? "RCPT TO" : "DATA";
      case Step::kBody:
        return "DATA";
      case Step::kEndOfData:
      case Step::kQuit:
        return "end of DATA";
      case Step::kRset:
        return "RSET";
    }
    std::abort();
  }

  ServerAnswer AnswerOf(const ReceivedReply& reply) const {
    return {reply.code, reply.enhanced, reply.Text(), CommandName()};
  }

  // What can't stand in a command never reaches the wire.
  void RefuseAddresses() {
    const bool sender_ok = transaction_.sender.empty() ||
                           mail::ParseAddress(transaction_.sender, /*allow_utf8=*/true).ok();
    for (size_t i = 0; i < answers_.size(); ++i) {
      const std::string& recipient = transaction_.recipients[i];
      if (!sender_ok) {
        answers_[i] = {501, "5.1.7", "Bad sender address syntax", "MAIL FROM"};
      } else if (!transaction_.smtputf8 && !text::IsAscii(transaction_.sender)) {
        answers_[i] = {553, "5.6.7", "Sender address wants SMTPUTF8", "MAIL FROM"};
      } else if (!mail::ParseAddress(recipient, /*allow_utf8=*/true).ok()) {
        answers_[i] = {501, "5.1.3", "Bad recipient address syntax", "RCPT TO"};
      } else if (!transaction_.smtputf8 && !text::IsAscii(recipient)) {
        answers_[i] = {553, "5.6.7", "Recipient address wants SMTPUTF8", "RCPT TO"};
      } else {
        later_.push_back(i);
      }
    }
  }

  // ---- Replies.

  ClientAction OnReply(ReceivedReply reply) {
    const int kind = reply.code / 100;
    const bool wants_data = step_ == Step::kEnvelope && answered_ == envelope_.size() + 1;
    if (kind == 3 && (!wants_data || reply.code != 354)) {
      return BreakOff(absl::StrCat("reply ", reply.code, " to ", CommandName()));
    }
    // RFC 5321 3.8: the server is about to close.
    if (reply.code == 421) return FinishWith(AnswerOf(reply));
    switch (step_) {
      case Step::kGreeting:
        if (kind != 2) return QuitWith(AnswerOf(reply));
        if (reply.code != 220) return BreakOff("no greeting");
        return SendEhlo();
      case Step::kEhlo:
        if (kind == 5) {  // RFC 5321 3.2: an old server.
          step_ = Step::kHelo;
          return Write(absl::StrCat("HELO ", options_.hostname, "\r\n"));
        }
        if (kind != 2) return QuitWith(AnswerOf(reply));
        TakeExtensions(reply);
        return AfterEhlo();
      case Step::kHelo:
        if (kind != 2) return QuitWith(AnswerOf(reply));
        TakeExtensions({});
        return AfterEhlo();
      case Step::kStartTls:
        if (kind != 2) return BeginEnvelope();  // Refused: opportunistic TLS goes on without.
        // What came in clear after the reply would be taken for replies within TLS.
        if (!replies_.empty()) return BreakOff("octets between STARTTLS and TLS");
        waiting_ = Waiting::kTls;
        return client_action::StartTls{};
      case Step::kEnvelope:
        return OnEnvelopeReply(reply);
      case Step::kEndOfData:
        return OnVerdict(reply, /*under_way=*/false);
      case Step::kRset:
        return BeginTransaction();  // Refused: the reply to MAIL tells.
      case Step::kStart:
      case Step::kBody:
      case Step::kQuit:
        break;
    }
    WrongEvent();
  }

  // RFC 5321 4.1.1.1. The first line is the server's name.
  void TakeExtensions(const ReceivedReply& reply) {
    extensions_ = Extensions();
    for (size_t i = 1; i < reply.lines.size(); ++i) {
      const std::vector<absl::string_view> words =
          absl::StrSplit(reply.lines[i], ' ', absl::SkipEmpty());
      if (words.empty()) continue;
      if (absl::EqualsIgnoreCase(words[0], "PIPELINING")) extensions_.pipelining = true;
      if (absl::EqualsIgnoreCase(words[0], "8BITMIME")) extensions_.eight_bit = true;
      if (absl::EqualsIgnoreCase(words[0], "SMTPUTF8")) extensions_.smtputf8 = true;
      if (absl::EqualsIgnoreCase(words[0], "STARTTLS")) extensions_.starttls = true;
      if (absl::EqualsIgnoreCase(words[0], "SIZE")) {
        extensions_.size = true;
        // RFC 1870 3: without a number, or with 0, there is no limit told.
        if (words.size() < 2 || !absl::SimpleAtoi(words[1], &extensions_.max_octets)) {
          extensions_.max_octets = 0;
        }
      }
    }
  }

  ClientAction AfterEhlo() {
    if (extensions_.starttls && options_.starttls && !tls_) {
      step_ = Step::kStartTls;
      return Write("STARTTLS\r\n");
    }
    return BeginEnvelope();
  }

  ClientAction BeginEnvelope() {
    step_ = Step::kEnvelope;
    if (transaction_.smtputf8 && !extensions_.smtputf8) {
      return QuitWith({553, "5.6.7", "The server does not take SMTPUTF8 messages", ""});
    }
    if (transaction_.eight_bit && !extensions_.eight_bit) {
      return QuitWith({554, "5.6.3", "The server does not take 8BITMIME messages", ""});
    }
    if (extensions_.max_octets > 0 && transaction_.octets > extensions_.max_octets) {
      return QuitWith(
          {552, "5.3.4",
           absl::StrCat("Message of ", transaction_.octets,
                        " octets is over the server's limit of ", extensions_.max_octets),
           ""});
    }
    return BeginTransaction();
  }

  // For as many of those who wait as go in one.
  ClientAction BeginTransaction() {
    const auto end = later_.begin() + std::min(later_.size(), limit_);
    envelope_.assign(later_.begin(), end);
    later_.erase(later_.begin(), end);
    open_ = envelope_;
    sent_ = answered_ = 0;
    ++transactions_;
    step_ = Step::kEnvelope;
    return SendEnvelope();
  }

  // `under_way`: the server still has the last one's sender (RFC 5321 4.1.1.5).
  ClientAction NextTransaction(bool under_way) {
    too_many_.clear();
    if (later_.empty()) return Quit();
    if (!under_way) return BeginTransaction();
    step_ = Step::kRset;
    return Write("RSET\r\n");
  }

  // Command `i` of the envelope: MAIL, RCPT for each, DATA.
  std::string EnvelopeCommand(size_t i) const {
    if (i == 0) {
      const bool eight_bit = transaction_.eight_bit || transaction_.smtputf8;
      return absl::StrCat("MAIL FROM:<", transaction_.sender, ">",
                          extensions_.size ? absl::StrCat(" SIZE=", transaction_.octets) : "",
                          eight_bit && extensions_.eight_bit ? " BODY=8BITMIME" : "",
                          transaction_.smtputf8 ? " SMTPUTF8" : "", "\r\n");
    }
    if (i > envelope_.size()) return "DATA\r\n";
    return absl::StrCat("RCPT TO:<", transaction_.recipients[envelope_[i - 1]], ">\r\n");
  }

  ClientAction SendEnvelope() {
    std::string octets;
    do {
      absl::StrAppend(&octets, EnvelopeCommand(sent_++));
    } while (extensions_.pipelining && sent_ <= envelope_.size() + 1 &&
             octets.size() < kMaxPipelined);
    return Write(std::move(octets));
  }

  ClientAction OnEnvelopeReply(const ReceivedReply& reply) {
    const bool ok = reply.code / 100 == 2;
    if (answered_ == envelope_.size() + 1) return OnDataReply(reply);
    if (answered_ == 0) {
      if (!ok) {
        ServerAnswer answer = AnswerOf(reply);
        answer.of_session = transactions_ > 1;
        AnswerRest(std::move(answer));
      }
    } else if (!ok) {
      // Nobody is open any more when MAIL was refused: its answer stands.
      const auto it = std::find(open_.begin(), open_.end(), envelope_[answered_ - 1]);
      if (it != open_.end()) {
        const ServerAnswer& answer = answers_[*it].emplace(AnswerOf(reply));
        if (answer.too_many_recipients()) too_many_.push_back(*it);
        open_.erase(it);
      }
    }
    ++answered_;
    if (answered_ < sent_) return AwaitReply();
    return open_.empty() ? NextTransaction(/*under_way=*/true) : SendEnvelope();
  }

  ClientAction OnDataReply(const ReceivedReply& reply) {
    if (reply.code == 354) {
      if (open_.empty()) {
        // RFC 2920 3.1: DATA was sent before all recipients were refused.
        step_ = Step::kEndOfData;
        return Write(".\r\n");
      }
      step_ = Step::kBody;
      at_line_start_ = true;
      line_octets_ = 0;
      after_cr_ = false;
      return WantBody(/*from_start=*/true);
    }
    if (reply.code < 400) return BreakOff("no 354 to DATA");
    return OnVerdict(reply, /*under_way=*/true);
  }

  // The reply to the message, or to DATA when that was not 354.
  ClientAction OnVerdict(const ReceivedReply& reply, bool under_way) {
    if (open_.empty()) return NextTransaction(under_way);
    const ServerAnswer verdict = AnswerOf(reply);
    if (!verdict.accepted()) {
      // It is the same message for those whose transaction was yet to come.
      Answer(later_, verdict, answers_);
      AnswerOpen(verdict);
      return Quit();
    }
    // RFC 5321 4.5.3.1.10. Where nobody was taken there is nothing to wait for here.
    if (!too_many_.empty()) limit_ = open_.size();
    later_.insert(later_.end(), too_many_.begin(), too_many_.end());
    AnswerOpen(verdict);
    return NextTransaction(under_way);
  }

  // ---- Body.

  // RFC 5321 4.5.2. A dot after any LF is doubled, so that not even a server that ends lines there
  // sees an end that is none.
  void AppendStuffed(absl::string_view octets, std::string& out) {
    while (!octets.empty()) {
      if (at_line_start_ && octets.front() == '.') out.push_back('.');
      const size_t lf = octets.find('\n');
      const absl::string_view line = octets.substr(0, lf == absl::string_view::npos ? lf : lf + 1);
      AppendLinePart(line, out);
      octets.remove_prefix(line.size());
      at_line_start_ = lf != absl::string_view::npos;
      after_cr_ = line.back() == '\r';
      if (at_line_start_) line_octets_ = 0;
    }
  }

  // Longer lines than others take are broken by CRLF and a blank, as Postfix does
  // (smtp_line_length_limit); a character is never cut.
  void AppendLinePart(absl::string_view part, std::string& out) {
    // Three octets short of it: no character that begins here ends beyond.
    if (line_octets_ + part.size() + 3 <= kMaxLineOctets) {
      absl::StrAppend(&out, part);
      line_octets_ += part.size();
      return;
    }
    for (const char c : part) {
      const unsigned char octet = static_cast<unsigned char>(c);
      // CR stands before LF alone, and neither counts.
      if (c == '\r' || c == '\n') {
        out.push_back(c);
        continue;
      }
      const size_t character = octet >= 0xF0 ? 4 : octet >= 0xE0 ? 3 : octet >= 0xC0 ? 2 : 1;
      const bool continued = octet >= 0x80 && octet < 0xC0;
      if (line_octets_ + character > kMaxLineOctets &&
          (!continued || line_octets_ >= kMaxLineOctets)) {
        absl::StrAppend(&out, "\r\n ");
        line_octets_ = 1;
      }
      out.push_back(c);
      ++line_octets_;
    }
  }

  struct Extensions {
    bool pipelining = false;
    bool eight_bit = false;
    bool smtputf8 = false;
    bool starttls = false;
    bool size = false;
    uint64_t max_octets = 0;
  };

  const ClientOptions& options_;
  const ClientTransaction transaction_;
  // By recipient of the transaction.
  std::vector<std::optional<ServerAnswer>> answers_;
  // Indices: of the recipients of the transaction under way, of those of them without an answer,
  // and of those that were too many for it; then of those who go in a further one.
  std::vector<size_t> envelope_;
  std::vector<size_t> open_;
  std::vector<size_t> too_many_;
  std::vector<size_t> later_;
  ReplyReader replies_;
  Extensions extensions_;
  Step step_ = Step::kStart;
  Waiting waiting_ = Waiting::kNothing;
  size_t transactions_ = 0;
  // Recipients in the next one.
  size_t limit_ = options_.recipients_per_transaction;
  // Commands of the envelope.
  size_t sent_ = 0;
  size_t answered_ = 0;
  bool tls_ = false;
  bool at_line_start_ = true;
  size_t line_octets_ = 0;
  bool after_cr_ = false;
};

ClientSession::ClientSession(const ClientOptions& options, ClientTransaction transaction)
    : impl_(std::make_unique<Impl>(options, std::move(transaction))) {}
ClientSession::~ClientSession() = default;

ClientAction ClientSession::Start() { return impl_->Start(); }
ClientAction ClientSession::Resume(ClientEvent event) { return impl_->Resume(std::move(event)); }

}  // namespace postern::smtp
