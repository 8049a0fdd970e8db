#include "services/protocol/smtp/data_reader.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"

namespace postern::smtp {
namespace {

using Defect = DataReader::Defect;

struct Outcome {
  std::string text;
  // What stands after the end; "" and ended false when there was none.
  std::string rest;
  bool ended = false;
  Defect defect = Defect::kNone;
};

Outcome Read(absl::string_view input, size_t piece, uint64_t max_octets = 1 << 20) {
  DataReader reader(max_octets);
  Outcome outcome;
  std::string buffer;
  while (!input.empty()) {
    buffer.append(std::string(input.substr(0, piece)));
    input.remove_prefix(std::min(piece, input.size()));
    const DataReader::Result result = reader.Decode(absl::MakeSpan(buffer));
    absl::StrAppend(&outcome.text, result.text);
    buffer.erase(0, result.consumed);
    outcome.ended = result.end;
    outcome.defect = reader.defect();
    if (result.end) {
      outcome.rest = absl::StrCat(buffer, input);
      return outcome;
    }
    EXPECT_LE(buffer.size(), 2u);
  }
  return outcome;
}

TEST(DataReaderTest, EndsOnlyAtCrLfDotCrLf) {
  struct Case {
    std::string input;
    std::string text;
    std::string rest;
  };
  const Case kCases[] = {
      {".\r\n", "", ""},
      {".\r\nQUIT\r\n", "", "QUIT\r\n"},
      {"a\r\n.\r\nb", "a\r\n", "b"},
      {"..\r\n.\r\n", ".\r\n", ""},
      {".a\r\n.\r\n", "a\r\n", ""},
      {"a.\r\n.b.\r\n...\r\n.\r\n.\r\n", "a.\r\nb.\r\n..\r\n", ".\r\n"},
      {"\r\n\r\n.\r\n", "\r\n\r\n", ""},
      {"a\r\n. \r\n.\r\n", "a\r\n \r\n", ""},
  };
  for (const Case& c : kCases) {
    for (size_t piece = 1; piece <= c.input.size(); ++piece) {
      SCOPED_TRACE(absl::StrCat(c.input, " by ", piece));
      const Outcome outcome = Read(c.input, piece);
      EXPECT_TRUE(outcome.ended);
      EXPECT_EQ(outcome.defect, Defect::kNone);
      EXPECT_EQ(outcome.text, c.text);
      EXPECT_EQ(outcome.rest, c.rest);
    }
  }
}

// SMTP smuggling (CVE-2023-51764 and its kin): another server might end the message at any of
// these. We don't, and the message is refused, so that it never gets there.
TEST(DataReaderTest, SmugglingSequencesNeitherEndNorPass) {
  const std::pair<std::string, Defect> kSequences[] = {
      {"\n.\n", Defect::kBareLf},
      {"\r\n.\n", Defect::kBareLf},
      {"\n.\r\n", Defect::kBareLf},
      {"\r.\r", Defect::kBareCr},
      {"\r\n.\r", Defect::kBareCr},
      {"\r.\r\n", Defect::kBareCr},
      {"\r\n.\r\r\n", Defect::kBareCr},
      {"\r\r\n.\r\r\n", Defect::kBareCr},
      {"\n\r.\r\n", Defect::kBareCr},
      {"\r.\n", Defect::kBareCr},
      {std::string("\r\n\0.\r\n", 6), Defect::kNul},
      {std::string("\r\n.\0\r\n", 6), Defect::kNul},
      {std::string("\r\0\n.\r\n", 6), Defect::kBareCr},
      {std::string("\r\n.\r\0\n", 6), Defect::kBareCr},
      {std::string("\0\r\n.\0\n", 6), Defect::kBareLf},
  };
  for (const auto& [sequence, defect] : kSequences) {
    const std::string input =
        absl::StrCat("Subject: x\r\n\r\nhi", sequence, "MAIL FROM:<evil@x>\r\n.\r\nNOOP\r\n");
    for (size_t piece = 1; piece <= input.size(); ++piece) {
      SCOPED_TRACE(absl::StrCat(sequence, " by ", piece));
      const Outcome outcome = Read(input, piece);
      EXPECT_TRUE(outcome.ended);
      EXPECT_EQ(outcome.defect, defect);
      EXPECT_EQ(outcome.rest, "NOOP\r\n");
    }
  }
}

TEST(DataReaderTest, WholeChunkIsOneRun) {
  std::string message;
  while (message.size() < 4096) absl::StrAppend(&message, ".", std::string(76, 'x'), "\r\n");
  std::string stuffed;
  for (size_t at = 0; at < message.size(); at += 79) {
    absl::StrAppend(&stuffed, ".", message.substr(at, 79));
  }
  stuffed += ".\r\n";
  DataReader reader(1 << 20);
  const DataReader::Result result = reader.Decode(absl::MakeSpan(stuffed));
  EXPECT_TRUE(result.end);
  EXPECT_EQ(result.text, message);
  EXPECT_EQ(reader.octets(), message.size());
}

TEST(DataReaderTest, LimitsAreExact) {
  EXPECT_EQ(Read("12345678\r\n.\r\n", 3, 10).defect, Defect::kNone);
  EXPECT_EQ(Read("123456789\r\n.\r\n", 3, 10).defect, Defect::kTooLarge);
}

// RFC 5322 2.1.1 asks receivers to handle lines that are too long.
TEST(DataReaderTest, LinesOfAnyLength) {
  for (const size_t octets : {998, 999, 5000, 300000}) {
    const std::string line(octets, 'x');
    const auto got = Read(absl::StrCat(line, "\r\n.", line, "\r\n.\r\n"), 997);
    EXPECT_EQ(got.defect, Defect::kNone) << octets;
    EXPECT_EQ(got.text, absl::StrCat(line, "\r\n", line, "\r\n")) << octets;
  }
}

}  // namespace
}  // namespace postern::smtp
