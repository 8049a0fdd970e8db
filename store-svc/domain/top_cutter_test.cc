#include "store-svc/domain/top_cutter.h"

#include <string>

#include "gtest/gtest.h"

namespace postern::store {
namespace {

std::string Cut(absl::string_view message, uint32_t lines, size_t piece_octets) {
  TopCutter cutter(lines);
  std::string answer;
  for (size_t at = 0; at < message.size() && !cutter.done(); at += piece_octets) {
    const absl::string_view piece = message.substr(at, piece_octets);
    answer += std::string(piece.substr(0, cutter.Pass(piece)));
  }
  return answer;
}

TEST(TopCutter, PassesHeaderAndLines) {
  const struct {
    const char* message;
    uint32_t lines;
    const char* answer;
  } kCases[] = {
      {"A: b\r\nC: d\r\n\r\none\r\ntwo\r\n", 0, "A: b\r\nC: d\r\n\r\n"},
      {"A: b\r\nC: d\r\n\r\none\r\ntwo\r\n", 1, "A: b\r\nC: d\r\n\r\none\r\n"},
      {"A: b\r\n\r\none\r\ntwo\r\n", 2, "A: b\r\n\r\none\r\ntwo\r\n"},
      {"A: b\r\n\r\none\r\ntwo\r\n", 4294967295u, "A: b\r\n\r\none\r\ntwo\r\n"},
      // Empty lines of the body count.
      {"A: b\r\n\r\n\r\n\r\nx\r\n", 2, "A: b\r\n\r\n\r\n\r\n"},
      // No body, no end of the header, no end of the last line.
      {"A: b\r\n\r\n", 3, "A: b\r\n\r\n"},
      {"A: b\r\nC: d\r\n", 0, "A: b\r\nC: d\r\n"},
      {"A: b\r\n\r\nlast", 1, "A: b\r\n\r\nlast"},
      {"A: b\r\n\r\none\r\nlast", 1, "A: b\r\n\r\none\r\n"},
      // A CR alone neither ends a line nor makes one empty.
      {"A\r\r\nB: c\r\n\r\nx\r\n", 0, "A\r\r\nB: c\r\n\r\n"},
      {"A: b\r\n\rx\r\n\r\ny\r\n", 0, "A: b\r\n\rx\r\n\r\n"},
      {"\r\nx\r\ny\r\n", 1, "\r\nx\r\n"},
      {"", 5, ""},
  };
  for (const auto& test : kCases) {
    for (size_t octets : {1, 2, 3, 5, 1000}) {
      EXPECT_EQ(Cut(test.message, test.lines, octets), test.answer)
          << test.message << " in pieces of " << octets;
    }
  }
}

}  // namespace
}  // namespace postern::store
