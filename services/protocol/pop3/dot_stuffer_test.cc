#include "services/protocol/pop3/dot_stuffer.h"

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace postern::pop3 {
namespace {

std::string Stuff(const std::vector<std::string>& pieces) {
  DotStuffer stuffer;
  std::string output;
  for (const std::string& piece : pieces) stuffer.Append(piece, &output);
  stuffer.Finish(&output);
  return output;
}

// What a client does (RFC 1939 3), told of nothing but CRLF.
std::string Unstuff(absl::string_view stuffed) {
  std::string message;
  while (true) {
    const size_t end = stuffed.find("\r\n");
    if (end == absl::string_view::npos) {
      ADD_FAILURE() << "no final dot";
      return message;
    }
    absl::string_view line = stuffed.substr(0, end);
    stuffed.remove_prefix(end + 2);
    if (line == ".") {
      EXPECT_TRUE(stuffed.empty()) << "the final dot came too early";
      return message;
    }
    if (!line.empty() && line.front() == '.') line.remove_prefix(1);
    absl::StrAppend(&message, line, "\r\n");
  }
}

TEST(DotStufferTest, Cases) {
  const struct {
    const char* message;
    const char* stuffed;
  } kCases[] = {
      {"", ".\r\n"},
      {".", "..\r\n.\r\n"},
      {"\r\n", "\r\n.\r\n"},
      {"a", "a\r\n.\r\n"},
      {"a\r\n", "a\r\n.\r\n"},
      {"a\r\n.", "a\r\n..\r\n.\r\n"},
      {"a\r\n.\r\n", "a\r\n..\r\n.\r\n"},
      {"..\r\n..\r\n", "...\r\n...\r\n.\r\n"},
      {"a\n.b\r\n", "a\n.b\r\n.\r\n"},
      {"a\r.b\r\n", "a\r.b\r\n.\r\n"},
      {"a\r\r\n.b\r\n", "a\r\r\n..b\r\n.\r\n"},
      {"a\n", "a\n\r\n.\r\n"},
      {"a\r", "a\r\r\n.\r\n"},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.stuffed);
    EXPECT_EQ(Stuff({c.message}), c.stuffed);
    std::vector<std::string> octets;
    for (const char* p = c.message; *p != '\0'; ++p) octets.emplace_back(1, *p);
    EXPECT_EQ(Stuff(octets), c.stuffed);
  }
}

TEST(DotStufferTest, AnyMessageInAnyPiecesComesBack) {
  std::mt19937 random(1);
  for (int round = 0; round < 5000; ++round) {
    std::string message;
    for (size_t i = random() % 40; i > 0; --i) message += "\r\n.ax"[random() % 5];
    std::vector<std::string> pieces;
    for (size_t at = 0; at < message.size();) {
      pieces.push_back(message.substr(at, 1 + random() % 5));
      at += pieces.back().size();
    }
    const std::string whole = Stuff({message});
    EXPECT_EQ(Stuff(pieces), whole);
    const bool complete =
        message.empty() || absl::string_view(message).substr(
                               message.size() - std::min<size_t>(2, message.size())) == "\r\n";
    EXPECT_EQ(Unstuff(whole), complete ? message : message + "\r\n");
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace postern::pop3
