// What dialogs can't say of ServerSession: sizes, many sessions' worth of octets, misuse.
#include "services/protocol/smtp/server_session.h"

#include <memory>
#include <string>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace postern::smtp {
namespace {

class ServerSessionTest : public testing::Test {
 protected:
  // Answers everything with yes until the engine wants octets or is through.
  void Settle() {
    while (true) {
      if (std::holds_alternative<action::Read>(action_) ||
          std::holds_alternative<action::Close>(action_)) {
        output_ += session_.TakeOutput();
        return;
      }
      if (std::holds_alternative<action::Flush>(action_)) {
        ++flushes_;
        largest_output_ = std::max(largest_output_, session_.TakeOutput().size());
        action_ = session_.Resume(event::Done{});
      } else if (const auto* body = std::get_if<action::Body>(&action_)) {
        ++runs_;
        octets_ += body->octets.size();
        action_ = session_.Resume(event::Done{});
      } else if (std::holds_alternative<action::AbandonMessage>(action_)) {
        ++abandoned_;
        action_ = session_.Resume(event::Done{});
      } else {
        action_ = session_.Resume(event::Accepted{});
      }
    }
  }

  void Start() {
    action_ = session_.Start();
    Settle();
  }

  void Send(absl::string_view octets) {
    ASSERT_TRUE(std::holds_alternative<action::Read>(action_));
    action_ = session_.Resume(event::Received{octets});
    Settle();
  }

  void BeginMessage() {
    Send("HELO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nDATA\r\n");
    output_.clear();
  }

  ServerOptions options_{.hostname = "mx.test", .max_message_octets = 1 << 20};
  ServerSession session_{options_};
  Action action_;
  std::string output_;
  int flushes_ = 0;
  size_t largest_output_ = 0;
  int runs_ = 0;
  uint64_t octets_ = 0;
  int abandoned_ = 0;
};

// Replies don't gather without bound while a pipelining client doesn't read (or does).
TEST_F(ServerSessionTest, OutputIsBounded) {
  options_.max_errors = 1000000;
  Start();
  std::string commands;
  for (int i = 0; i < 20000; ++i) commands += "X\r\n";
  Send(commands);
  EXPECT_GT(flushes_, 20);
  EXPECT_LT(largest_output_, 17u << 10);
}

TEST_F(ServerSessionTest, FourKibibytesAreOneBody) {
  Start();
  BeginMessage();
  std::string message;
  while (message.size() < 4096) absl::StrAppend(&message, "..", std::string(75, 'x'), "\r\n");
  Send(absl::StrCat(message, ".\r\n"));
  EXPECT_EQ(runs_, 1);
  EXPECT_EQ(output_, "250 2.0.0 Message accepted\r\n");
}

// The body is streamed: the session doesn't gather it.
TEST_F(ServerSessionTest, LargeMessageIsOneBodyForEachRead) {
  options_.max_message_octets = 64 << 20;
  Start();
  BeginMessage();
  std::string chunk;
  while (chunk.size() < 16 << 10) absl::StrAppend(&chunk, std::string(76, 'x'), "\r\n");
  for (int i = 0; i < 2560; ++i) Send(chunk);
  Send(".\r\n");
  EXPECT_EQ(runs_, 2560);
  EXPECT_EQ(octets_, 2560 * chunk.size());
  EXPECT_EQ(output_, "250 2.0.0 Message accepted\r\n");
}

// Too large: given up at once, read to its end, answered once; and what never ends is cut off.
TEST_F(ServerSessionTest, EndlessMessageIsCutOff) {
  Start();
  BeginMessage();
  const std::string chunk = absl::StrCat(std::string(900, 'x'), "\r\n");
  std::string large;
  for (int i = 0; i < 100; ++i) large += chunk;
  uint64_t sent = 0;
  while (std::holds_alternative<action::Read>(action_) && sent < 200u << 20) {
    Send(large);
    sent += large.size();
    EXPECT_LE(octets_, 1u << 20);
  }
  EXPECT_TRUE(std::holds_alternative<action::Close>(action_));
  EXPECT_EQ(abandoned_, 1);
  EXPECT_GT(sent, 64u << 20);
  EXPECT_LT(sent, 66u << 20);
  EXPECT_EQ(output_, "421 4.3.4 mx.test Message has no end, closing connection\r\n");
}

// RFC 5321 4.2: one line whatever a service put into its text.
TEST_F(ServerSessionTest, RefusalsTextCannotMakeLines) {
  Start();
  Send("HELO c\r\n");
  output_.clear();
  action_ = session_.Resume(event::Received{"MAIL FROM:<a@b>\r\n"});
  action_ = session_.Resume(event::Refused{{550, "5.7.1", "no\r\n250 yes \xc3\xa4"}});
  Settle();
  EXPECT_EQ(output_, "550 5.7.1 no??250 yes ??\r\n");
}

using ServerSessionDeathTest = ServerSessionTest;

// Never 250 to what nobody committed.
TEST_F(ServerSessionDeathTest, EventThatAnswersNothingAborts) {
  Start();
  EXPECT_DEATH(session_.Resume(event::Accepted{}), "does not answer");
  EXPECT_DEATH(session_.Resume(event::TlsEstablished{}), "does not answer");
}

}  // namespace
}  // namespace postern::smtp
