// Runs the files in dialogs/ (see its README.md).
#include <algorithm>
#include <deque>
#include <filesystem>
#include <memory>
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
#include "services/protocol/smtp/server_session.h"

namespace postern::smtp {
namespace {

using protocol::DialogLine;
using protocol::Unescape;

constexpr char kFolder[] = "services/protocol/smtp/dialogs";

struct Dialog {
  ServerOptions options;
  // Empty: as the engine has them.
  std::vector<std::string> mechanisms;
  std::vector<DialogLine> lines;
};

void SetOption(ServerOptions& options, absl::string_view word) {
  const std::pair<absl::string_view, absl::string_view> option =
      absl::StrSplit(word, absl::MaxSplits('=', 1));
  uint64_t number = 0;
  const bool has_number = absl::SimpleAtoi(option.second, &number);
  if (option.first == "starttls") {
    options.starttls = true;
  } else if (option.first == "implicit_tls") {
    options.implicit_tls = true;
  } else if (option.first == "require_tls") {
    options.require_tls = true;
  } else if (option.first == "submission") {
    options.submission = true;
  } else if (option.first == "max_message_octets" && has_number) {
    options.max_message_octets = number;
  } else if (option.first == "max_recipients" && has_number) {
    options.max_recipients = number;
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
    } else {
      ADD_FAILURE() << path << ": " << name;
    }
  }
  return dialog;
}

// The driver: answers actions as the dialog says and remembers what it saw.
class Driver {
 public:
  explicit Driver(const Dialog& dialog) : session_(dialog.options) {
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
  std::string message;
  std::string committed;
  Envelope envelope;
  std::string auth = "none";
  bool closed() const { return closed_; }
  const ServerSession& session() const { return session_; }

 private:
  void Continue(Action action) {
    for (int i = 0; i < 100000; ++i) {
      if (std::holds_alternative<action::Read>(action)) {
        output += session_.TakeOutput();
        return;
      }
      if (const auto* close = std::get_if<action::Close>(&action)) {
        output += session_.TakeOutput();
        if (close->foreign) events.push_back("foreign");
        closed_ = true;
        return;
      }
      action = session_.Resume(std::visit([this](auto& a) { return Answer(a); }, action));
    }
    FAIL() << "the engine does not come to rest";
  }

  // The dialog's answer to `name`, or `otherwise`.
  Event Scripted(absl::string_view name, absl::string_view otherwise) {
    std::string answer(otherwise);
    if (!answers.empty() && answers.front().first == name) {
      answer = answers.front().second;
      answers.pop_front();
    }
    absl::string_view rest = answer;
    if (absl::ConsumePrefix(&rest, "accept")) {
      absl::ConsumePrefix(&rest, " ");
      return event::Accepted{std::string(rest)};
    }
    if (absl::ConsumePrefix(&rest, "challenge")) {
      absl::ConsumePrefix(&rest, " ");
      return event::Challenge{Unescape(rest)};
    }
    if (rest == "authenticated") return event::Authenticated{};
    const std::vector<std::string> words = absl::StrSplit(rest, absl::MaxSplits(' ', 2));
    int code = 0;
    if (words.size() != 3 || !absl::SimpleAtoi(words[0], &code)) {
      ADD_FAILURE() << "no answer for " << name << ": '" << answer << "'";
      return event::Refused{{451, "4.3.0", "no answer in the dialog"}};
    }
    return event::Refused{{code, words[1], words[2]}};
  }

  Event Answer(action::Read&) { return event::Done{}; }
  Event Answer(action::Close&) { return event::Done{}; }
  Event Answer(action::Flush&) {
    output += session_.TakeOutput();
    return event::Done{};
  }
  Event Answer(action::CheckConnection&) { return Scripted("CheckConnection", "accept"); }
  Event Answer(action::StartTls&) {
    output += session_.TakeOutput();
    events.push_back("tls");
    return event::TlsEstablished{};
  }
  Event Answer(action::AuthStart& a) {
    auth = absl::StrCat(a.mechanism, " ", a.initial_response.value_or("none"));
    return Scripted("AuthStart", "");
  }
  Event Answer(action::AuthRespond& a) {
    auth = a.response;
    return Scripted("AuthRespond", "");
  }
  Event Answer(action::AuthCancel&) {
    events.push_back("cancel");
    return event::Done{};
  }
  Event Answer(action::CheckSender&) { return Scripted("CheckSender", "accept"); }
  Event Answer(action::CheckRecipient&) { return Scripted("CheckRecipient", "accept"); }
  Event Answer(action::BeginMessage&) {
    envelope = session_.envelope();
    message.clear();
    events.push_back("begin");
    return Scripted("BeginMessage", "accept");
  }
  Event Answer(action::Body& a) {
    EXPECT_FALSE(a.octets.empty());
    absl::StrAppend(&message, a.octets);
    return event::Done{};
  }
  Event Answer(action::EndMessage&) {
    events.push_back("commit");
    committed = message;
    return Scripted("EndMessage", "accept");
  }
  Event Answer(action::AbandonMessage&) {
    events.push_back("abandon");
    return event::Done{};
  }

  ServerSession session_;
  bool closed_ = false;
};

void CheckState(Driver& driver, absl::string_view text) {
  const std::pair<std::string, std::string> what = absl::StrSplit(text, absl::MaxSplits(' ', 1));
  std::string is;
  if (what.first == "closed" || what.first == "open") {
    EXPECT_EQ(driver.closed(), what.first == "closed");
  } else if (what.first == "events") {
    EXPECT_EQ(absl::StrJoin(driver.events, " "), what.second);
    driver.events.clear();
  } else if (what.first == "message") {
    EXPECT_EQ(driver.committed, what.second);
  } else if (what.first == "sender") {
    EXPECT_EQ(driver.envelope.sender, what.second);
  } else if (what.first == "recipients") {
    const std::string recipients = absl::StrJoin(
        driver.envelope.recipients, " ",
        [](std::string* out, const Recipient& r) { absl::StrAppend(out, r.address); });
    EXPECT_EQ(recipients, what.second);
  } else if (what.first == "helo") {
    EXPECT_EQ(driver.session().helo(), what.second);
  } else if (what.first == "protocol") {
    EXPECT_EQ(driver.session().protocol_name(), what.second);
  } else if (what.first == "auth") {
    EXPECT_EQ(driver.auth, what.second);
  } else {
    FAIL() << "unknown expectation: " << text;
  }
}

// `sizes` says how large the next piece of `left` octets is.
template <typename Sizes>
void RunDialog(const Dialog& dialog, Sizes sizes) {
  Driver driver(dialog);
  bool started = false;
  size_t i = 0;
  while (i < dialog.lines.size()) {
    // A turn: what is sent, how the driver will answer, what must come, what must be true.
    const int first = dialog.lines[i].number;
    SCOPED_TRACE(absl::StrCat("turn at line ", first));
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
      driver.Send(absl::string_view(octets).substr(at, size));
      at += size;
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
  RunDialog(dialog_, [] { return SIZE_MAX; });
}

TEST_P(ServerDialogTest, OneOctetAtATime) {
  RunDialog(dialog_, [] { return size_t{1}; });
}

TEST_P(ServerDialogTest, CutAtRandom) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    RunDialog(dialog_, [&] { return size_t{1} + random() % (seed % 2 == 0 ? 7 : 61); });
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Files, ServerDialogTest, testing::ValuesIn(DialogFiles()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace postern::smtp
