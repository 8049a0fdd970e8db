#include "services/protocol/mail/header.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"

namespace postern::mail {
namespace {

std::string Show(absl::string_view message) {
  return absl::StrJoin(ParseHeader(message), "|", [](std::string* out, const HeaderField& field) {
    absl::StrAppend(out, field.name, "=", field.value);
  });
}

TEST(HeaderTest, ParsesFields) {
  const std::pair<std::string, std::string> kCases[] = {
      {"", ""},
      {"\r\nA: b\r\n", ""},
      {"A: b\r\nC:d\r\n\r\nE: f\r\n", "A= b|C=d"},
      {"A: b\r\n c\r\n\td\r\nE:\r\n", "A= b\r\n c\r\n\td|E="},
      {"A : b\r\n", "A= b"},
      {"A: b", "A= b"},
      {"A: b\r\nnothing\r\nC: d\r\n", "A= b"},
      {"From alice@x Tue 12:00\r\nA: b\r\n", ""},
      {" folded\r\nA: b\r\n", ""},
      {": b\r\nA: b\r\n", ""},
      // A bare LF ends no line.
      {"A: b\nC: d\r\n", "A= b\nC: d"},
  };
  for (const auto& [message, fields] : kCases) EXPECT_EQ(Show(message), fields) << message;
}

std::string ShowList(absl::string_view value) {
  const auto addresses = ParseAddressList(value);
  if (!addresses.ok()) {
    EXPECT_EQ(addresses.status().code(), absl::StatusCode::kInvalidArgument);
    return "unclear";
  }
  return absl::StrCat("[", absl::StrJoin(*addresses, " "), "]");
}

TEST(AddressListTest, Parses) {
  const std::pair<std::string, std::string> kCases[] = {
      {"a@b", "[a@b]"},
      {" a@B.Example\r\n", "unclear"},
      {"Alice <a@b>", "[a@b]"},
      {"<a@b>", "[a@b]"},
      {"J. Random Hacker <j.r@b>, c@d ,\r\n e@f", "[j.r@b c@d e@f]"},
      {"\"Doe, <x@y> John\" <a@b>", "[a@b]"},
      {"\"back\\\"slash\" <a@b>", "[a@b]"},
      {"=?utf-8?q?=C3=A4?= <a@b>", "[a@b]"},
      {"Jürgen <ä@b>", "[ä@b]"},
      {"a@b (comment, with <c@d>)", "[a@b]"},
      {"(x (nested \\) ) ) a (y) @ (z) b", "[a@b]"},
      {"Team: a@b, C <c@d>; , e@f", "[a@b c@d e@f]"},
      {"undisclosed-recipients:;", "[]"},
      {"\"quoted local\"@b", "[\"quoted local\"@b]"},
      {"x <a@[192.0.2.1]>", "[a@[192.0.2.1]]"},
      {",a@b,,c@d,", "[a@b c@d]"},
      {"\"folded\r\n name\" <a@b>", "[a@b]"},
  };
  for (const auto& [value, expected] : kCases) EXPECT_EQ(ShowList(value), expected) << value;
}

TEST(AddressListTest, NeverGuesses) {
  const std::string kCases[] = {
      "",
      " ",
      "()",
      ",",
      "a",
      "Alice",
      "a@b c@d",
      "a@b <c@d>",
      "Alice a@b",
      "<a@b",
      "a@b>",
      "<a@b> <c@d>",
      "Alice <a@b> Bob",
      "<>",
      "Alice <>",
      "<a>",
      "<a@b c@d>",
      "<a@b, c@d>",
      "a@b; c@d",
      "Team: a@b",
      "Team: Sub: a@b;;",
      ":;",
      "Team: a@b; c@d",
      "\"a\" \"b\"@c",
      "a.\"b\"@c",
      "a . b@c",
      "a@b . c",
      "a@b (",
      "a@b )",
      "\"a@b",
      "a@@b",
      "@b",
      "a@",
      "foo@bar <a@b>",
      "<@r:a@b>",
      "a@[1.2.3",
      "a\r\n@b",
      "a@b\r\nX: y",
      "(\r\n) a@b",
      std::string("a\0@b", 4),
      "\xff <a@b>",
      "a[b] <a@b>",
      "a\\b <a@b>",
  };
  for (const std::string& value : kCases) EXPECT_EQ(ShowList(value), "unclear") << value;
}

// Costs grow with the input, not with its square: then this would run for hours, not for a second.
TEST(HeaderTest, IsLinear) {
  constexpr size_t kOctets = 1 << 20;
  const auto repeat = [](absl::string_view piece) {
    std::string input;
    while (input.size() < kOctets) absl::StrAppend(&input, piece);
    return input;
  };
  for (const char* piece :
       {"(", "()", "\"", "\\", "<", "a@b,", "x:", "a ", "\"a\" ", "[", ";", ",", "\r\n "}) {
    const std::string input = repeat(piece);
    const auto addresses = ParseAddressList(input);
    EXPECT_EQ(addresses.ok() ? addresses->size() : 0,
              absl::string_view(piece) == "a@b," ? input.size() / 4 : 0)
        << piece;
  }
  for (const char* piece : {"a:\r\n", "a:\r\n \r\n", "a", "\r", "a: \r", "a:b\r\n\t"}) {
    const std::string input = repeat(piece);
    EXPECT_LE(ParseHeader(input).size(), input.size() / 4 + 1) << piece;
  }
}

}  // namespace
}  // namespace postern::mail
