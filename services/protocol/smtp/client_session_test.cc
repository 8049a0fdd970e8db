#include "services/protocol/smtp/client_session.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"

namespace postern::smtp {
namespace {

// A session as lines: "S: " what the server sends ("S- ": with a bare LF behind it), "C: " what
// must be written, in this order; "T:" a handshake that succeeds, "L: why" the connection lost; "B:
// piece" a piece of the body and "E:" its end. "\r", "\n" in a piece stand for octets.
struct Case {
  std::string name;
  ClientTransaction transaction;
  std::string script;
  // One "code enhanced|command|text" for each recipient.
  std::vector<std::string> answers;
  bool tls = false;
  bool use_starttls = true;
  size_t recipients_per_transaction = 50;
};

std::string Show(const ServerAnswer& a) {
  return absl::StrCat(a.code, " ", a.enhanced, "|", a.command, "|", a.text);
}

ClientTransaction One(std::string sender = "a@b.example") {
  return {.sender = std::move(sender), .recipients = {"x@y.example"}, .octets = 10};
}

ClientTransaction Two() {
  return {.sender = "a@b.example", .recipients = {"x@y.example", "z@y.example"}, .octets = 10};
}

ClientTransaction Three() {
  ClientTransaction three = Two();
  three.recipients.push_back("w@y.example");
  return three;
}

constexpr char kEhlo[] = "S: 220 y\nC: EHLO me.test\n";
constexpr char kPipelining[] =
    "S: 220 y\nC: EHLO me.test\nS: 250-y\nS: 250-SIZE 1000\nS: 250 PIPELINING\n";
constexpr char kBody[] = "B: hi\\r\\n\nE:\nC: hi\nC: .\n";
constexpr char kMail[] = "C: MAIL FROM:<a@b.example>\nS: 250 ok\n";
constexpr char kMailSize[] = "C: MAIL FROM:<a@b.example> SIZE=10\n";
constexpr char kRcptX[] = "C: RCPT TO:<x@y.example>\n";
constexpr char kRcptZ[] = "C: RCPT TO:<z@y.example>\n";
constexpr char kRcptW[] = "C: RCPT TO:<w@y.example>\n";
constexpr char kData[] = "C: DATA\nS: 354 go\nB: hi\\r\\n\nE:\nC: hi\nC: .\n";

std::vector<Case> Cases() {
  ClientTransaction eight_bit = One();
  eight_bit.eight_bit = true;
  ClientTransaction utf8 = One("ä@b.example");
  utf8.smtputf8 = true;
  ClientTransaction utf8_undeclared = One("ä@b.example");
  ClientTransaction large = One();
  large.octets = 1001;
  ClientTransaction injected = Two();
  injected.recipients[0] = "x@y.example>\r\nRCPT TO:<evil@z.example";
  return {
      {"Plain",
       One(),
       absl::StrCat(kEhlo,
                    "S: 250-y\nS: 250 SIZE\nC: MAIL FROM:<a@b.example> SIZE=10\nS: 250 2.1.0 ok\n"
                    "C: RCPT TO:<x@y.example>\nS: 250 2.1.5 ok\nC: DATA\nS: 354 go\n",
                    kBody, "S: 250 2.0.0 queued\nC: QUIT\n"),
       {"250 2.0.0|end of DATA|queued"}},
      {"NullSender",
       One(""),
       absl::StrCat(kEhlo,
                    "S: 250 y\nC: MAIL FROM:<>\nS: 250 ok\nC: RCPT TO:<x@y.example>\nS: 251 ok\n"
                    "C: DATA\nS: 354 go\n",
                    kBody, "S: 250-2.0.0 one\nS: 250 2.0.0 two\nC: QUIT\n"),
       {"250 2.0.0|end of DATA|one two"}},
      {"Pipelined",
       Two(),
       absl::StrCat(kPipelining,
                    "C: MAIL FROM:<a@b.example> SIZE=10\nC: RCPT TO:<x@y.example>\n"
                    "C: RCPT TO:<z@y.example>\nC: DATA\n"
                    "S: 250 ok\nS: 550 5.1.1 unknown\nS: 250 ok\nS: 354 go\n",
                    kBody, "S: 250 ok\nC: QUIT\n"),
       {"550 5.1.1|RCPT TO|unknown", "250 |end of DATA|ok"}},
      {"PipelinedAllRefused",
       Two(),
       absl::StrCat(kPipelining,
                    "C: MAIL FROM:<a@b.example> SIZE=10\nC: RCPT TO:<x@y.example>\n"
                    "C: RCPT TO:<z@y.example>\nC: DATA\n"
                    "S: 250 ok\nS: 550 5.1.1 unknown\nS: 452 4.2.2 full\nS: 554 none\nC: QUIT\n"),
       {"550 5.1.1|RCPT TO|unknown", "452 4.2.2|RCPT TO|full"}},
      // RFC 2920 3.1.
      {"PipelinedAllRefusedBut354",
       Two(),
       absl::StrCat(kPipelining,
                    "C: MAIL FROM:<a@b.example> SIZE=10\nC: RCPT TO:<x@y.example>\n"
                    "C: RCPT TO:<z@y.example>\nC: DATA\n"
                    "S: 250 ok\nS: 550 5.1.1 unknown\nS: 550 5.1.1 unknown\nS: 354 go\nC: .\n"
                    "S: 554 5.5.1 none\nC: QUIT\n"),
       {"550 5.1.1|RCPT TO|unknown", "550 5.1.1|RCPT TO|unknown"}},
      {"PipelinedMailRefused",
       Two(),
       absl::StrCat(kPipelining,
                    "C: MAIL FROM:<a@b.example> SIZE=10\nC: RCPT TO:<x@y.example>\n"
                    "C: RCPT TO:<z@y.example>\nC: DATA\n"
                    "S: 550 5.7.1 no\nS: 503 5.5.1 x\nS: 503 5.5.1 x\nS: 503 5.5.1 x\nC: QUIT\n"),
       {"550 5.7.1|MAIL FROM|no", "550 5.7.1|MAIL FROM|no"}},
      {"MailRefused",
       One(),
       absl::StrCat(kEhlo,
                    "S: 250 y\nC: MAIL FROM:<a@b.example>\nS: 451 4.7.1 greylisted\n"
                    "C: QUIT\n"),
       {"451 4.7.1|MAIL FROM|greylisted"}},
      {"AllRefusedNoData",
       One(),
       absl::StrCat(kEhlo,
                    "S: 250 y\nC: MAIL FROM:<a@b.example>\nS: 250 ok\n"
                    "C: RCPT TO:<x@y.example>\nS: 550 no\nC: QUIT\n"),
       {"550 |RCPT TO|no"}},
      {"DataRefused",
       Two(),
       absl::StrCat(kEhlo,
                    "S: 250 y\nC: MAIL FROM:<a@b.example>\nS: 250 ok\n"
                    "C: RCPT TO:<x@y.example>\nS: 250 ok\n"
                    "C: RCPT TO:<z@y.example>\nS: 250 ok\n"
                    "C: DATA\nS: 451 4.3.0 later\nC: QUIT\n"),
       {"451 4.3.0|DATA|later", "451 4.3.0|DATA|later"}},
      {"MessageRefused",
       One(),
       absl::StrCat(kEhlo,
                    "S: 250 y\nC: MAIL FROM:<a@b.example>\nS: 250 ok\n"
                    "C: RCPT TO:<x@y.example>\nS: 250 ok\nC: DATA\nS: 354 go\n",
                    kBody, "S: 554 5.7.1 spam\nC: QUIT\n"),
       {"554 5.7.1|end of DATA|spam"}},
      {"HeloFallback",
       One(),
       "S: 220 y\nC: EHLO me.test\nS: 502 what\nC: HELO me.test\nS: 250 y\n"
       "C: MAIL FROM:<a@b.example>\nS: 550 no\nC: QUIT\n",
       {"550 |MAIL FROM|no"}},
      {"HeloRefused",
       One(),
       "S: 220 y\nC: EHLO me.test\nS: 500 what\nC: HELO me.test\nS: 550 go away\nC: QUIT\n",
       {"550 |HELO|go away"}},
      {"EhloTemporary",
       One(),
       absl::StrCat(kEhlo, "S: 450 4.7.0 later\nC: QUIT\n"),
       {"450 4.7.0|EHLO|later"}},
      {"GreetingRefused",
       One(),
       "S: 554-5.7.1 no\nS: 554 5.7.1 service\nC: QUIT\n",
       {"554 5.7.1|CONNECT|no service"}},
      {"GreetingBusy", One(), "S: 421 4.3.2 busy\n", {"421 4.3.2|CONNECT|busy"}},
      {"StartTls",
       One(),
       absl::StrCat(kEhlo,
                    "S: 250-y\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nT:\n"
                    "C: EHLO me.test\nS: 250-y\nS: 250-STARTTLS\nS: 250 SIZE\n"
                    "C: MAIL FROM:<a@b.example> SIZE=10\nS: 550 no\nC: QUIT\n"),
       {"550 |MAIL FROM|no"},
       /*tls=*/true},
      {"StartTlsRefused",
       One(),
       absl::StrCat(kEhlo,
                    "S: 250-y\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 4.7.0 no\n"
                    "C: MAIL FROM:<a@b.example>\nS: 550 no\nC: QUIT\n"),
       {"550 |MAIL FROM|no"}},
      {"StartTlsNotWanted",
       One(),
       absl::StrCat(kEhlo,
                    "S: 250-y\nS: 250 STARTTLS\nC: MAIL FROM:<a@b.example>\nS: 550 no\n"
                    "C: QUIT\n"),
       {"550 |MAIL FROM|no"},
       /*tls=*/false,
       /*use_starttls=*/false},
      {"HandshakeFails",
       One(),
       absl::StrCat(kEhlo, "S: 250-y\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nL: handshake\n"),
       {"0 |STARTTLS|handshake"}},
      {"TooLargeForServer",
       large,
       absl::StrCat(kPipelining, "C: QUIT\n"),
       {"552 5.3.4|MAIL FROM|Message of 1001 octets is over the server's limit of 1000"}},
      {"EightBitLacking",
       eight_bit,
       absl::StrCat(kEhlo, "S: 250 y\nC: QUIT\n"),
       {"554 5.6.3|MAIL FROM|The server does not take 8BITMIME messages"}},
      {"Utf8Lacking",
       utf8,
       absl::StrCat(kEhlo, "S: 250-y\nS: 250 8BITMIME\nC: QUIT\n"),
       {"553 5.6.7|MAIL FROM|The server does not take SMTPUTF8 messages"}},
      {"Utf8",
       utf8,
       absl::StrCat(kEhlo,
                    "S: 250-y\nS: 250-8BITMIME\nS: 250 SMTPUTF8\n"
                    "C: MAIL FROM:<ä@b.example> BODY=8BITMIME SMTPUTF8\nS: 550 no\n"
                    "C: QUIT\n"),
       {"550 |MAIL FROM|no"}},
      {"Utf8Undeclared",
       utf8_undeclared,
       "",
       {"553 5.6.7|MAIL FROM|Sender address wants SMTPUTF8"}},
      {"Injection",
       injected,
       absl::StrCat(kEhlo,
                    "S: 250 y\nC: MAIL FROM:<a@b.example>\nS: 250 ok\n"
                    "C: RCPT TO:<z@y.example>\nS: 550 no\nC: QUIT\n"),
       {"501 5.1.3|RCPT TO|Bad recipient address syntax", "550 |RCPT TO|no"}},
      {"InjectionBySender",
       One("a@b.example> SIZE=1\r\nDATA"),
       "",
       {"501 5.1.7|MAIL FROM|Bad sender address syntax"}},
      {"ShutDownAtRcpt",
       Two(),
       absl::StrCat(kEhlo,
                    "S: 250 y\nC: MAIL FROM:<a@b.example>\nS: 250 ok\n"
                    "C: RCPT TO:<x@y.example>\nS: 250 ok\nC: RCPT TO:<z@y.example>\n"
                    "S: 421 4.3.2 bye\n"),
       {"421 4.3.2|RCPT TO|bye", "421 4.3.2|RCPT TO|bye"}},
      // RFC 5321 4.5.3.1.10: what a server finds too many goes in a further transaction at once.
      {"TooManyRecipients",
       Three(),
       absl::StrCat(kEhlo, "S: 250 y\n", kMail, kRcptX, "S: 250 ok\n", kRcptZ,
                    "S: 452 4.5.3 too many\n", kRcptW, "S: 552 5.5.3 too many\n", kData,
                    "S: 250 one\n", kMail, kRcptZ, "S: 250 ok\n", kData, "S: 250 two\n", kMail,
                    kRcptW, "S: 550 5.1.1 no\nC: QUIT\n"),
       {"250 |end of DATA|one", "250 |end of DATA|two", "550 5.1.1|RCPT TO|no"}},
      {"TooManyRecipientsPipelined",
       Two(),
       absl::StrCat(kPipelining, kMailSize, kRcptX, kRcptZ,
                    "C: DATA\nS: 250 ok\nS: 250 ok\nS: 452 4.5.3 too many\nS: 354 go\n", kBody,
                    "S: 250 one\n", kMailSize, kRcptZ, "C: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n",
                    kBody, "S: 250 two\nC: QUIT\n"),
       {"250 |end of DATA|one", "250 |end of DATA|two"}},
      // Where none was taken, the next time is the queue's to choose.
      {"TooManyRecipientsForNone",
       Two(),
       absl::StrCat(kEhlo, "S: 250 y\n", kMail, kRcptX, "S: 452 4.2.2 full\n", kRcptZ,
                    "S: 552 5.2.2 full\nC: QUIT\n"),
       {"452 4.2.2|RCPT TO|full", "552 5.2.2|RCPT TO|full"}},
      {"TooManyRecipientsAgain",
       Two(),
       absl::StrCat(kEhlo, "S: 250 y\n", kMail, kRcptX, "S: 250 ok\n", kRcptZ,
                    "S: 452 4.2.2 full\n", kData, "S: 250 one\n", kMail, kRcptZ,
                    "S: 452 4.2.2 full\nC: QUIT\n"),
       {"250 |end of DATA|one", "452 4.2.2|RCPT TO|full"}},
      // The message was not taken. The other has a temporary answer of its own.
      {"TooManyRecipientsOfWhatIsDeferred",
       Two(),
       absl::StrCat(kEhlo, "S: 250 y\n", kMail, kRcptX, "S: 250 ok\n", kRcptZ,
                    "S: 452 4.5.3 too many\n", kData, "S: 451 4.3.0 later\nC: QUIT\n"),
       {"451 4.3.0|end of DATA|later", "452 4.5.3|RCPT TO|too many"}},
      // The next one has as many as the last one took.
      {"TooManyRecipientsTeachTheLimit",
       Three(),
       absl::StrCat(kPipelining, kMailSize, kRcptX, kRcptZ, "C: RCPT TO:<w@y.example>\n",
                    "C: DATA\nS: 250 ok\nS: 250 ok\nS: 452 4.5.3 too many\n"
                    "S: 452 4.5.3 too many\nS: 354 go\n",
                    kBody, "S: 250 one\n", kMailSize, kRcptZ,
                    "C: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n", kBody, "S: 250 two\n", kMailSize,
                    "C: RCPT TO:<w@y.example>\n", "C: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n",
                    kBody, "S: 250 three\nC: QUIT\n"),
       {"250 |end of DATA|one", "250 |end of DATA|two", "250 |end of DATA|three"}},
      {"OverTheLimit",
       Three(),
       absl::StrCat(kPipelining, kMailSize, kRcptX, kRcptZ,
                    "C: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n", kBody, "S: 250 one\n",
                    kMailSize, kRcptW, "C: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n", kBody,
                    "S: 250 two\nC: QUIT\n"),
       {"250 |end of DATA|one", "250 |end of DATA|one", "250 |end of DATA|two"},
       /*tls=*/false,
       /*use_starttls=*/true,
       /*recipients_per_transaction=*/2},
      // RFC 5321 4.1.1.5: the server has a transaction under way that has no recipient.
      {"OverTheLimitWhenAllBeforeAreRefused",
       Two(),
       absl::StrCat(kEhlo, "S: 250 y\n", kMail, kRcptX, "S: 550 5.1.1 no\nC: RSET\nS: 250 ok\n",
                    kMail, kRcptZ, "S: 250 ok\n", kData, "S: 250 two\nC: QUIT\n"),
       {"550 5.1.1|RCPT TO|no", "250 |end of DATA|two"},
       /*tls=*/false,
       /*use_starttls=*/true,
       /*recipients_per_transaction=*/1},
      // It is the same message for the others.
      {"OverTheLimitOfARefusedMessage",
       Two(),
       absl::StrCat(kEhlo, "S: 250 y\n", kMail, kRcptX, "S: 250 ok\n", kData,
                    "S: 554 5.7.1 spam\nC: QUIT\n"),
       {"554 5.7.1|end of DATA|spam", "554 5.7.1|end of DATA|spam"},
       /*tls=*/false,
       /*use_starttls=*/true,
       /*recipients_per_transaction=*/1},
      {"OverTheLimitOfADeferredMessage",
       Two(),
       absl::StrCat(kEhlo, "S: 250 y\n", kMail, kRcptX, "S: 250 ok\n",
                    "C: DATA\nS: 451 4.3.0 later\nC: QUIT\n"),
       {"451 4.3.0|DATA|later", "451 4.3.0|DATA|later"},
       /*tls=*/false,
       /*use_starttls=*/true,
       /*recipients_per_transaction=*/1},
      {"OneMessageInASession",
       Two(),
       absl::StrCat(kEhlo, "S: 250 y\n", kMail, kRcptX, "S: 250 ok\n", kData, "S: 250 one\n",
                    "C: MAIL FROM:<a@b.example>\nS: 550 5.5.0 one is enough\nC: QUIT\n"),
       {"250 |end of DATA|one", "550 5.5.0|MAIL FROM|one is enough"},
       /*tls=*/false,
       /*use_starttls=*/true,
       /*recipients_per_transaction=*/1},
      {"ShutDownBetweenTransactions",
       Two(),
       absl::StrCat(kEhlo, "S: 250 y\n", kMail, kRcptX, "S: 250 ok\n", kData, "S: 250 one\n",
                    "C: MAIL FROM:<a@b.example>\nS: 421 4.3.2 bye\n"),
       {"250 |end of DATA|one", "421 4.3.2|MAIL FROM|bye"},
       /*tls=*/false,
       /*use_starttls=*/true,
       /*recipients_per_transaction=*/1},
      {"ShutDownAfterTheMessage",
       Two(),
       absl::StrCat(kEhlo, "S: 250 y\n", kMail, kRcptX, "S: 250 ok\n", kRcptZ,
                    "S: 452 4.5.3 too many\n", kData, "S: 421 4.3.2 bye\n"),
       {"421 4.3.2|end of DATA|bye", "421 4.3.2|MAIL FROM|bye"}},
      {"BareLf",
       One(),
       absl::StrCat("S- 220-y\nS- 220 y\nC: EHLO me.test\nS- 250-y\nS- 250 SIZE\n", kMailSize,
                    "S- 250 ok\n", kRcptX, "S: 250 ok\nC: DATA\nS- 354 go\n", kBody,
                    "S- 250 2.0.0 queued\nC: QUIT\n"),
       {"250 2.0.0|end of DATA|queued"}},
      {"InconsistentCodes",
       One(),
       "S: 220-y\nS: 250 y\n",
       {"0 |CONNECT|protocol error: the server does not speak SMTP"}},
      {"NotSmtp",
       One(),
       "S: HTTP/1.1 400 Bad Request\n",
       {"0 |CONNECT|protocol error: the server does not speak SMTP"}},
      {"WrongGreeting", One(), "S: 250 y\n", {"0 |CONNECT|protocol error: no greeting"}},
      {"EarlyIntermediate",
       One(),
       absl::StrCat(kEhlo, "S: 354 go\n"),
       {"0 |EHLO|protocol error: reply 354 to EHLO"}},
      {"DataAcceptedAtOnce",
       One(),
       absl::StrCat(kEhlo,
                    "S: 250 y\nC: MAIL FROM:<a@b.example>\nS: 250 ok\n"
                    "C: RCPT TO:<x@y.example>\nS: 250 ok\nC: DATA\nS: 250 ok\n"),
       {"0 |DATA|protocol error: no 354 to DATA"}},
  };
}

class Player {
 public:
  explicit Player(const Case& c)
      : options_{.hostname = "me.test",
                 .starttls = c.use_starttls,
                 .recipients_per_transaction = c.recipients_per_transaction},
        session_(options_, c.transaction),
        lines_(absl::StrSplit(c.script, '\n', absl::SkipEmpty())) {}

  // Plays the script, or `lines` lines of it and then Lost.
  void Play(size_t lines, size_t piece) {
    action_ = session_.Start();
    written_ = Written();
    size_t i = 0;
    for (; i < lines_.size() && i < lines; ++i) {
      SCOPED_TRACE(lines_[i]);
      ASSERT_FALSE(finished());
      absl::string_view rest = lines_[i];
      rest.remove_prefix(2);
      absl::ConsumePrefix(&rest, " ");
      const char kind = lines_[i][0];
      if (kind == 'C') {
        ASSERT_TRUE(absl::ConsumePrefix(&written_, absl::StrCat(rest, "\r\n"))) << written_;
        last_sent_ = std::string(rest);
        if (written_.empty()) Resume(client_event::Sent{});
      } else {
        ASSERT_EQ(written_, "");
        if (kind == 'S') {
          committed_ = committed_ || (last_sent_ == "." && absl::StartsWith(rest, "250 "));
          const std::string octets = absl::StrCat(rest, lines_[i][1] == '-' ? "\n" : "\r\n");
          for (size_t at = 0; at < octets.size(); at += piece) {
            ASSERT_TRUE(std::holds_alternative<client_action::Read>(action_));
            const auto copy = std::make_unique<std::string>(octets.substr(at, piece));
            Resume(client_event::Received{*copy});
          }
        } else if (kind == 'T') {
          ASSERT_TRUE(std::holds_alternative<client_action::StartTls>(action_));
          Resume(client_event::TlsEstablished{});
        } else if (kind == 'L') {
          Resume(client_event::Lost{std::string(rest)});
        } else if (kind == 'B') {
          ASSERT_TRUE(std::holds_alternative<client_action::SendBody>(action_));
          const std::string octets = absl::StrReplaceAll(rest, {{"\\r", "\r"}, {"\\n", "\n"}});
          EXPECT_EQ(std::get<client_action::SendBody>(action_).from_start, pending_body_.empty());
          Resume(client_event::Body{octets});
          pending_body_ = std::string(written_);
          Resume(client_event::Sent{});
        } else if (kind == 'E') {
          Resume(client_event::BodyEnd{});
          write_ = absl::StrCat(std::exchange(pending_body_, ""), written_);
          written_ = write_;
        }
      }
    }
    if (i < lines_.size()) Resume(client_event::Lost{"cut"});
  }

  bool finished() const { return std::holds_alternative<client_action::Finished>(action_); }
  const client_action::Finished& result() const {
    return std::get<client_action::Finished>(action_);
  }
  size_t size() const { return lines_.size(); }
  // The server said yes to a whole message.
  bool committed() const { return committed_; }

 private:
  void Resume(ClientEvent event) {
    action_ = session_.Resume(std::move(event));
    written_ = Written();
  }
  absl::string_view Written() {
    auto* write = std::get_if<client_action::Write>(&action_);
    if (write == nullptr) return "";
    EXPECT_FALSE(write->octets.empty());
    return write->octets;
  }

  const ClientOptions options_;
  ClientSession session_;
  const std::vector<std::string> lines_;
  ClientAction action_;
  // What the last Write has that the script did not ask for yet.
  absl::string_view written_;
  std::string write_;
  std::string pending_body_;
  std::string last_sent_;
  bool committed_ = false;
};

class ClientSessionTest : public testing::TestWithParam<Case> {};

TEST_P(ClientSessionTest, AsScripted) {
  for (const size_t piece : {size_t{1000}, size_t{1}, size_t{3}}) {
    Player player(GetParam());
    player.Play(SIZE_MAX, piece);
    if (HasFatalFailure()) return;
    ASSERT_TRUE(player.finished());
    std::vector<std::string> answers;
    for (const ServerAnswer& answer : player.result().answers) answers.push_back(Show(answer));
    EXPECT_EQ(answers, GetParam().answers);
    EXPECT_EQ(player.result().tls, GetParam().tls);
  }
}

// The connection breaks after each line in turn: every recipient has an answer, and none that says
// more than the server did.
TEST_P(ClientSessionTest, LostAtEveryPoint) {
  const size_t size = Player(GetParam()).size();
  for (size_t cut = 0; cut < size; ++cut) {
    SCOPED_TRACE(absl::StrCat("cut after ", cut, " lines"));
    Player player(GetParam());
    player.Play(cut, 1000);
    if (HasFatalFailure()) return;
    ASSERT_TRUE(player.finished());
    ASSERT_EQ(player.result().answers.size(), GetParam().answers.size());
    for (size_t i = 0; i < player.result().answers.size(); ++i) {
      const ServerAnswer& answer = player.result().answers[i];
      EXPECT_FALSE(answer.command.empty());
      EXPECT_TRUE(!answer.accepted() || player.committed());
      if (answer.code == 0) {
        EXPECT_EQ(answer.text, "cut");
        EXPECT_FALSE(answer.permanent());
      } else {
        EXPECT_EQ(Show(answer), GetParam().answers[i]);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, ClientSessionTest, testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.name; });

// Brings a session to its body.
class ClientBody {
 public:
  ClientBody() : session_(options_, One()) {
    session_.Start();
    for (const char* reply : {"220 y\r\n", "250 y\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"}) {
      action_ = session_.Resume(client_event::Received{reply});
      if (std::holds_alternative<client_action::Write>(action_)) {
        session_.Resume(client_event::Sent{});
      }
    }
    EXPECT_TRUE(std::holds_alternative<client_action::SendBody>(action_));
  }

  std::string Send(absl::string_view body, size_t piece) {
    std::string wire;
    for (size_t at = 0; at < body.size(); at += piece) {
      action_ = session_.Resume(client_event::Body{body.substr(at, piece)});
      wire += std::get<client_action::Write>(action_).octets;
      action_ = session_.Resume(client_event::Sent{});
      EXPECT_TRUE(std::holds_alternative<client_action::SendBody>(action_));
    }
    action_ = session_.Resume(client_event::BodyEnd{});
    return wire + std::get<client_action::Write>(action_).octets;
  }

 private:
  ClientOptions options_{.hostname = "me.test"};
  ClientSession session_;
  ClientAction action_;
};

TEST(ClientBodyTest, IsDotStuffedAndEnded) {
  const std::pair<std::string, std::string> kCases[] = {
      {"", ".\r\n"},
      {"x\r\n", "x\r\n.\r\n"},
      {"x", "x\r\n.\r\n"},
      {"x\r", "x\r\n.\r\n"},
      {".", "..\r\n.\r\n"},
      {".\r\n.\r\n", "..\r\n..\r\n.\r\n"},
      {"a.b\r\n..c\r\n", "a.b\r\n...c\r\n.\r\n"},
      {"a\n.\nb\r\n", "a\n..\nb\r\n.\r\n"},
      {"\r\n\r\n", "\r\n\r\n.\r\n"},
  };
  for (const auto& [body, wire] : kCases) {
    for (const size_t piece : {size_t{1}, size_t{2}, size_t{100}}) {
      EXPECT_EQ(ClientBody().Send(body, piece), wire) << piece;
    }
  }
}

TEST(ClientBodyTest, LongLinesAreBrokenAsPostfixDoes) {
  const std::string full(998, 'x');
  const std::string umlaut = "\xc3\xa4";
  const std::string euro = "\xe2\x82\xac";
  const std::pair<std::string, std::string> kCases[] = {
      {full + "\r\n", full + "\r\n.\r\n"},
      {full, full + "\r\n.\r\n"},
      {"." + full.substr(1) + "\r\ny\r\n", ".." + full.substr(1) + "\r\ny\r\n.\r\n"},
      {full + "y\r\n", full + "\r\n y\r\n.\r\n"},
      {full + full + "\r\nz\r\n", full + "\r\n " + full.substr(1) + "\r\n x\r\nz\r\n.\r\n"},
      // A character is never cut, and one that fits ends the line.
      {full.substr(2) + umlaut + "\r\n", full.substr(2) + umlaut + "\r\n.\r\n"},
      {full.substr(1) + umlaut + "\r\n", full.substr(1) + "\r\n " + umlaut + "\r\n.\r\n"},
      {full.substr(2) + euro + "\r\n", full.substr(2) + "\r\n " + euro + "\r\n.\r\n"},
      // What is not UTF-8 is broken all the same.
      {std::string(999, '\x80') + "\r\n", std::string(998, '\x80') + "\r\n \x80\r\n.\r\n"},
  };
  for (const auto& [body, wire] : kCases) {
    for (const size_t piece : {size_t{1}, size_t{2}, size_t{997}, size_t{998}, size_t{10000}}) {
      EXPECT_EQ(ClientBody().Send(body, piece), wire) << piece;
    }
  }
}

TEST(ClientLimitsTest, EndlessReplyIsBrokenOff) {
  const ClientOptions options{.hostname = "me.test"};
  for (const std::string& piece : {std::string(1000, 'x'), std::string("220-x\r\n")}) {
    ClientSession session(options, One());
    session.Start();
    ClientAction action;
    size_t octets = 0;
    do {
      action = session.Resume(client_event::Received{piece});
      octets += piece.size();
    } while (std::holds_alternative<client_action::Read>(action) && octets < 1 << 20);
    EXPECT_TRUE(std::holds_alternative<client_action::Finished>(action));
    EXPECT_LT(octets, 128 << 10);
  }
}

// What a server (or one in between) sends in clear after 220 must not count within TLS.
TEST(ClientTlsTest, ReplyInjectedBeforeTlsIsRefused) {
  const ClientOptions options{.hostname = "me.test"};
  ClientSession session(options, One());
  session.Start();
  session.Resume(client_event::Received{"220 y\r\n"});
  session.Resume(client_event::Sent{});
  session.Resume(client_event::Received{"250-y\r\n250 STARTTLS\r\n"});
  session.Resume(client_event::Sent{});
  const ClientAction action = session.Resume(client_event::Received{"220 go\r\n250 y\r\n"});
  ASSERT_TRUE(std::holds_alternative<client_action::Finished>(action));
  EXPECT_EQ(std::get<client_action::Finished>(action).answers[0].code, 0);
}

TEST(ServerAnswerTest, PermanentIsWhatNoOtherTryChanges) {
  const std::pair<ServerAnswer, bool> kCases[] = {
      {{550, "5.1.1", "", "RCPT TO"}, true},
      {{451, "4.3.0", "", "RCPT TO"}, false},
      {{452, "4.5.3", "", "RCPT TO"}, false},
      {{552, "5.5.3", "", "RCPT TO"}, false},
      {{552, "5.2.2", "", "RCPT TO"}, false},
      {{552, "5.2.3", "", "RCPT TO"}, true},
      {{552, "5.3.4", "", "RCPT TO"}, true},
      {{552, "5.3.4", "", "MAIL FROM"}, true},
      {{552, "5.3.4", "", "end of DATA"}, true},
      {{550, "5.5.0", "", "MAIL FROM", /*of_session=*/true}, false},
      {{0, "", "lost", "DATA"}, false},
  };
  for (const auto& [answer, permanent] : kCases) {
    EXPECT_EQ(answer.permanent(), permanent) << Show(answer);
  }
}

// RFC 2920 3.1: many recipients go in several groups, each of a few KiB.
TEST(ClientPipeliningTest, GroupsAreBounded) {
  ClientTransaction transaction = One();
  for (int i = 0; i < 1000; ++i) {
    transaction.recipients.push_back(absl::StrCat("recipient", i, "@y.example"));
  }
  const ClientOptions options{.hostname = "me.test", .recipients_per_transaction = 2000};
  ClientSession session(options, transaction);
  session.Start();
  session.Resume(client_event::Received{"220 y\r\n"});
  session.Resume(client_event::Sent{});
  ClientAction action = session.Resume(client_event::Received{"250-y\r\n250 PIPELINING\r\n"});
  size_t commands = 0;
  int writes = 0;
  while (auto* write = std::get_if<client_action::Write>(&action)) {
    EXPECT_LT(write->octets.size(), 9 << 10);
    const size_t lines = std::count(write->octets.begin(), write->octets.end(), '\n');
    ++writes;
    session.Resume(client_event::Sent{});
    for (size_t i = 0; i < lines; ++i) {
      const bool data = ++commands == 1003;
      action = session.Resume(client_event::Received{data ? "354 go\r\n" : "250 ok\r\n"});
    }
  }
  EXPECT_TRUE(std::holds_alternative<client_action::SendBody>(action));
  EXPECT_EQ(commands, 1003u);
  EXPECT_GT(writes, 3);
}

}  // namespace
}  // namespace postern::smtp
