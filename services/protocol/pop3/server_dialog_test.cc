// Runs the files in dialogs/ (see its README.md).
#include <algorithm>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"
#include "services/protocol/dialog/dialog_file.h"
#include "services/protocol/pop3/server_session.h"

namespace postern::pop3 {
namespace {

using protocol::DialogLine;
using protocol::Unescape;

constexpr char kFolder[] = "services/protocol/pop3/dialogs";

struct Dialog {
  ServerOptions options;
  // Empty: as the engine has them.
  std::vector<std::string> mechanisms;
  // By uid.
  std::map<uint64_t, std::string> messages;
  std::vector<DialogLine> lines;
};

void SetOption(ServerOptions& options, absl::string_view word) {
  const std::pair<absl::string_view, absl::string_view> option =
      absl::StrSplit(word, absl::MaxSplits('=', 1));
  size_t number = 0;
  const bool has_number = absl::SimpleAtoi(option.second, &number);
  if (option.first == "stls") {
    options.stls = true;
  } else if (option.first == "implicit_tls") {
    options.implicit_tls = true;
  } else if (option.first == "max_auth_failures" && has_number) {
    options.max_auth_failures = number;
  } else if (option.first == "max_errors" && has_number) {
    options.max_errors = number;
  } else {
    ADD_FAILURE() << "unknown option " << word;
  }
}

Dialog Load(const std::string& path) {
  Dialog dialog;
  dialog.options.hostname = "mx.test";
  protocol::DialogFile file = protocol::LoadDialog(path);
  dialog.lines = std::move(file.lines);
  for (const auto& [name, value] : file.settings) {
    if (name == "options") {
      for (absl::string_view word : absl::StrSplit(value, ' ', absl::SkipEmpty())) {
        if (absl::ConsumePrefix(&word, "mechanisms=")) {
          dialog.mechanisms = absl::StrSplit(word, ',');
          continue;
        }
        SetOption(dialog.options, word);
      }
    } else if (name == "mailbox") {
      for (int i = std::stoi(value); i > 0; --i) {
        dialog.messages[i] = std::string(98, 'x') + "\r\n";
      }
    } else if (name == "message") {
      const std::pair<std::string, std::string> message =
          absl::StrSplit(value, absl::MaxSplits(' ', 1));
      dialog.messages[std::stoull(message.first)] = Unescape(message.second);
    } else {
      ADD_FAILURE() << path << ": " << name;
    }
  }
  return dialog;
}

// What a TOP gives of a message.
std::string Top(const std::string& message, uint32_t lines) {
  const size_t header = message.find("\r\n\r\n");
  if (header == std::string::npos) return message;
  size_t end = header + 4;
  for (; lines > 0 && end < message.size(); --lines) {
    const size_t found = message.find("\r\n", end);
    end = found == std::string::npos ? message.size() : found + 2;
  }
  return message.substr(0, end);
}

// The driver: answers actions as the dialog says and remembers what it saw.
class Driver {
 public:
  Driver(const Dialog& dialog, size_t piece_octets)
      : dialog_(dialog), piece_octets_(piece_octets), session_(dialog.options) {
    if (dialog.mechanisms.empty()) return;
    session_.Offer(std::make_shared<std::vector<std::string>>(dialog.mechanisms));
  }

  void Start() { Continue(session_.Start()); }
  void Send(absl::string_view octets) {
    if (closed_) return;
    // Memory of its own, gone when Resume returns: the engine must not keep a view of it.
    const auto copy = std::make_unique<std::string>(octets);
    Continue(session_.Resume(event::Received{*copy}));
  }
  void Give(Event event) {
    ASSERT_FALSE(closed_);
    Continue(session_.Resume(std::move(event)));
  }

  std::deque<std::pair<std::string, std::string>> answers;
  std::string output;
  std::vector<std::string> events;
  std::string auth = "none";
  bool closed() const { return closed_; }
  bool secure() const { return session_.secure(); }

 private:
  void Continue(Action action) {
    for (int i = 0; i < 100000; ++i) {
      if (std::holds_alternative<action::Read>(action)) {
        TakeOutput();
        return;
      }
      if (const auto* close = std::get_if<action::Close>(&action)) {
        TakeOutput();
        if (close->foreign) events.push_back("foreign");
        closed_ = true;
        return;
      }
      action = session_.Resume(std::visit([this](auto& a) { return Answer(a); }, action));
    }
    FAIL() << "the engine does not come to rest";
  }

  void TakeOutput() {
    const std::string portion = session_.TakeOutput();
    // Bounded whatever was asked for.
    EXPECT_LE(portion.size(), (16u << 10) + 512);
    output += portion;
  }

  std::string Scripted(absl::string_view name, absl::string_view otherwise) {
    std::string answer(otherwise);
    if (!answers.empty() && answers.front().first == name) {
      answer = answers.front().second;
      answers.pop_front();
    }
    if (answer.empty()) ADD_FAILURE() << "no answer for " << name;
    return answer;
  }

  static Event FailedAs(absl::string_view kind) {
    if (kind == "auth") return event::Failed{Failure::kAuth};
    if (kind == "in-use") return event::Failed{Failure::kInUse};
    if (kind == "permanent") return event::Failed{Failure::kPermanent};
    EXPECT_EQ(kind, "temporary");
    return event::Failed{Failure::kTemporary};
  }

  Event LoginAnswer(absl::string_view name) {
    const std::string answer = Scripted(name, "");
    absl::string_view rest = answer;
    if (absl::ConsumePrefix(&rest, "challenge")) {
      absl::ConsumePrefix(&rest, " ");
      return event::Challenge{Unescape(rest)};
    }
    if (rest == "authenticated") return event::Authenticated{};
    absl::ConsumePrefix(&rest, "failed ");
    return FailedAs(rest);
  }

  // The next event of the message that is being sent.
  Event NextPiece() {
    if (message_.empty()) {
      if (message_failure_.empty()) {
        sending_ = false;
        return event::MessageEnd{};
      }
      return FailedAs(std::exchange(message_failure_, ""));
    }
    piece_ = std::make_unique<std::string>(message_.substr(0, piece_octets_));
    message_.erase(0, piece_->size());
    return event::MessagePiece{*piece_};
  }

  Event Answer(action::Read&) { return event::Done{}; }
  Event Answer(action::Close&) { return event::Done{}; }
  Event Answer(action::Flush&) {
    TakeOutput();
    if (sending_) return NextPiece();
    return event::Done{};
  }
  Event Answer(action::StartTls&) {
    TakeOutput();
    events.push_back("tls");
    return event::TlsEstablished{};
  }
  Event Answer(action::AuthStart& a) {
    auth = absl::StrCat(a.mechanism, " ", a.initial_response.value_or("none"));
    return LoginAnswer("AuthStart");
  }
  Event Answer(action::AuthRespond& a) {
    auth = a.response;
    return LoginAnswer("AuthRespond");
  }
  Event Answer(action::AuthCancel&) {
    events.push_back("cancel");
    return event::Done{};
  }
  Event Answer(action::OpenMaildrop&) {
    events.push_back("open");
    const std::string answer = Scripted("OpenMaildrop", "opened");
    absl::string_view rest = answer;
    if (absl::ConsumePrefix(&rest, "failed ")) return FailedAs(rest);
    event::Opened opened;
    opened.uid_validity = 42;
    for (const auto& [uid, text] : dialog_.messages) opened.messages.push_back({uid, text.size()});
    return opened;
  }
  Event Answer(action::Retrieve& a) {
    const std::string answer = Scripted("Retrieve", "whole");
    absl::string_view rest = answer;
    if (absl::ConsumePrefix(&rest, "failed ")) return FailedAs(rest);
    message_ = dialog_.messages.at(a.uid);
    if (a.body_lines.has_value()) {
      events.push_back(absl::StrCat("top:", a.uid, ":", *a.body_lines));
      message_ = Top(message_, *a.body_lines);
    } else {
      events.push_back(absl::StrCat("retr:", a.uid));
    }
    if (absl::ConsumePrefix(&rest, "cut ")) {
      const std::pair<std::string, std::string> cut = absl::StrSplit(rest, ' ');
      message_.resize(std::stoul(cut.first));
      message_failure_ = cut.second;
    }
    sending_ = true;
    return NextPiece();
  }
  Event Answer(action::Commit& a) {
    events.push_back(absl::StrCat("commit:", absl::StrJoin(a.deleted_uids, ",")));
    const std::string answer = Scripted("Commit", "done");
    absl::string_view rest = answer;
    if (absl::ConsumePrefix(&rest, "failed ")) return FailedAs(rest);
    return event::Done{};
  }

  const Dialog& dialog_;
  const size_t piece_octets_;
  ServerSession session_;
  bool closed_ = false;
  bool sending_ = false;
  std::string message_;
  std::string message_failure_;
  std::unique_ptr<std::string> piece_;
};

void CheckState(Driver& driver, absl::string_view text) {
  const std::pair<std::string, std::string> what = absl::StrSplit(text, absl::MaxSplits(' ', 1));
  if (what.first == "closed" || what.first == "open") {
    EXPECT_EQ(driver.closed(), what.first == "closed");
  } else if (what.first == "secure" || what.first == "clear") {
    EXPECT_EQ(driver.secure(), what.first == "secure");
  } else if (what.first == "events") {
    EXPECT_EQ(absl::StrJoin(driver.events, " "), what.second);
    driver.events.clear();
  } else if (what.first == "auth") {
    EXPECT_EQ(driver.auth, what.second);
  } else {
    FAIL() << "unknown expectation: " << text;
  }
}

// `sizes` says how large the next piece of what is sent is.
template <typename Sizes>
void RunDialog(const Dialog& dialog, size_t piece_octets, Sizes sizes) {
  Driver driver(dialog, piece_octets);
  bool started = false;
  size_t i = 0;
  while (i < dialog.lines.size()) {
    // A turn: what is sent, how the driver will answer, what must come, what must be true.
    SCOPED_TRACE(absl::StrCat("turn at line ", dialog.lines[i].number));
    std::string octets;
    std::string event;
    for (; i < dialog.lines.size() && absl::StrContains("C->!", dialog.lines[i].kind); ++i) {
      const DialogLine& line = dialog.lines[i];
      if (line.kind == '!') {
        driver.answers.emplace_back(absl::StrSplit(line.text, absl::MaxSplits(' ', 1)));
      } else if (line.kind == '>') {
        event = line.text;
      } else {
        absl::StrAppend(&octets, line.text, line.kind == 'C' ? "\r\n" : "");
      }
    }
    if (!std::exchange(started, true)) {
      ASSERT_TRUE(octets.empty() && event.empty()) << "the server speaks first";
      driver.Start();
    }
    for (size_t at = 0; at < octets.size();) {
      const size_t size = std::max<size_t>(1, std::min(octets.size() - at, sizes()));
      const bool was_secure = driver.secure();
      driver.Send(absl::string_view(octets).substr(at, size));
      at += size;
      // What else was sent in clear meets the handshake, not the engine.
      if (driver.secure() && !was_secure) break;
    }
    if (event == "timeout") driver.Give(event::TimedOut{});
    if (event == "drain") driver.Give(event::Drain{});

    std::string expected;
    for (; i < dialog.lines.size() && dialog.lines[i].kind == 'S'; ++i) {
      absl::StrAppend(&expected, dialog.lines[i].text, "\r\n");
    }
    ASSERT_EQ(std::exchange(driver.output, std::string()), expected);
    EXPECT_TRUE(driver.answers.empty()) << "not asked: " << driver.answers.front().first;
    for (; i < dialog.lines.size() && dialog.lines[i].kind == '='; ++i) {
      SCOPED_TRACE(absl::StrCat("line ", dialog.lines[i].number));
      CheckState(driver, dialog.lines[i].text);
    }
  }
}

std::vector<std::string> DialogFiles() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (entry.path().extension() == ".dialog") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class ServerDialogTest : public testing::TestWithParam<std::string> {
 protected:
  Dialog dialog_ = Load(absl::StrCat(kFolder, "/", GetParam(), ".dialog"));
};

TEST_P(ServerDialogTest, AtOnce) {
  RunDialog(dialog_, 4096, [] { return SIZE_MAX; });
}

TEST_P(ServerDialogTest, OneOctetAtATime) {
  RunDialog(dialog_, 1, [] { return size_t{1}; });
}

TEST_P(ServerDialogTest, CutAtRandom) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    RunDialog(dialog_, 1 + seed, [&] { return size_t{1} + random() % (seed % 2 == 0 ? 7 : 61); });
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Files, ServerDialogTest, testing::ValuesIn(DialogFiles()),
                         [](const auto& info) { return info.param; });

// The driver checks that no portion of the output is longer than what a session may hold.
TEST(ServerListingTest, OneHundredThousandMessagesInBoundedPortions) {
  Dialog dialog;
  dialog.options.hostname = "mx.test";
  dialog.options.implicit_tls = true;
  for (int i = 1; i <= 100000; ++i) dialog.messages[i] = "a\r\n";
  Driver driver(dialog, 4096);
  driver.Start();
  driver.answers.emplace_back("AuthStart", "authenticated");
  driver.Send("USER a\r\nPASS b\r\nDELE 50000\r\n");
  driver.output.clear();
  driver.Send("LIST\r\nUIDL\r\nSTAT\r\n");
  std::string expected = "+OK 99999 messages (299997 octets)\r\n";
  for (int i = 1; i <= 100000; ++i) {
    if (i != 50000) absl::StrAppend(&expected, i, " 3\r\n");
  }
  expected += ".\r\n+OK Unique ids follow\r\n";
  for (int i = 1; i <= 100000; ++i) {
    if (i != 50000) absl::StrAppend(&expected, i, " 0000002a", absl::Hex(i), "\r\n");
  }
  expected += ".\r\n+OK 99999 299997\r\n";
  EXPECT_TRUE(driver.output == expected) << driver.output.size() << " " << expected.size();
}

// As above: a burst of commands whose answers are longer than they are.
TEST(ServerListingTest, PipelinedCommandsInBoundedPortions) {
  Dialog dialog;
  dialog.options.hostname = "mx.test";
  Driver driver(dialog, 4096);
  driver.Start();
  std::string commands;
  for (int i = 0; i < 10000; ++i) commands += "CAPA\r\n";
  driver.output.clear();
  driver.Send(commands);
  EXPECT_GT(driver.output.size(), commands.size());
  EXPECT_FALSE(driver.closed());
}

}  // namespace
}  // namespace postern::pop3
