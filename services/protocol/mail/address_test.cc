#include "services/protocol/mail/address.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace postern::mail {
namespace {

struct Good {
  std::string text;
  std::string local_part;
  std::string domain;
  std::string again;
};

TEST(AddressTest, Parses) {
  const Good kCases[] = {
      {"a@b", "a", "b", "a@b"},
      {"Alice+List@Example.TEST.", "Alice+List", "example.test", "Alice+List@example.test"},
      {"!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~", "x", "!#$%&'*+-/=?^_`{|}~@x"},
      {"a.b.c@x-y.z9", "a.b.c", "x-y.z9", "a.b.c@x-y.z9"},
      {"\"john doe\"@x", "john doe", "x", "\"john doe\"@x"},
      {"\"john\"@x", "john", "x", "john@x"},
      {"\"a@b\\\\c\\\"d>\"@x", "a@b\\c\"d>", "x", "\"a@b\\\\c\\\"d>\"@x"},
      {"\"a..b\"@x", "a..b", "x", "\"a..b\"@x"},
      {"a@[192.0.2.1]", "a", "[192.0.2.1]", "a@[192.0.2.1]"},
      {"a@[IPv6:2001:DB8::1]", "a", "[ipv6:2001:db8::1]", "a@[ipv6:2001:db8::1]"},
      {"a@xn--mnchen-3ya.example", "a", "xn--mnchen-3ya.example", "a@xn--mnchen-3ya.example"},
      {absl::StrCat(std::string(64, 'a'), "@", std::string(63, 'b')), std::string(64, 'a'),
       std::string(63, 'b'), absl::StrCat(std::string(64, 'a'), "@", std::string(63, 'b'))},
  };
  for (const Good& c : kCases) {
    SCOPED_TRACE(c.text);
    const auto address = ParseAddress(c.text, /*allow_utf8=*/false);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->local_part, c.local_part);
    EXPECT_EQ(address->domain, c.domain);
    EXPECT_EQ(address->ToString(), c.again);
  }
}

TEST(AddressTest, Utf8OnlyWhenAllowed) {
  for (const char* text : {"ä@x", "a@bücher.example", "\"ä b\"@x", "用户@例え.jp"}) {
    EXPECT_FALSE(ParseAddress(text, false).ok()) << text;
    const auto address = ParseAddress(text, true);
    ASSERT_TRUE(address.ok()) << text;
    EXPECT_EQ(address->ToString(), text);
  }
}

TEST(AddressTest, Refuses) {
  const std::string kCases[] = {
      "",
      "@",
      "a",
      "a@",
      "@b",
      "a@b@c",
      ".a@b",
      "a.@b",
      "a..b@c",
      "a b@c",
      "a@b c",
      "a@b..c",
      "a@.b",
      "a@-b",
      "a@b-",
      "a@b_c",
      "a@b.-c",
      "<a@b>",
      "a@b>",
      "a,b@c",
      "a@b..",
      "a@.",
      "\"a@b",
      "\"a\"b@c",
      "\"\"@b",
      "\"a\"",
      "\"a\\\"@b",
      "a\"b\"@c",
      "(c)a@b",
      "a@(c)b",
      "a@[1.2.3]",
      "a@[1.2.3.4",
      "a@1.2.3.4]",
      "a@[::1]",
      "a@[IPv6:1.2.3.4]",
      "a@[x:y]",
      "a@[]",
      "a\r\n@b",
      "a@b\r\nRCPT TO:<c@d>",
      "a\t@b",
      std::string("a\0@b", 4),
      std::string("a@b\0", 4),
      "a\x7f@b",
      "\"a\nb\"@c",
      // Not UTF-8: stray, overlong, surrogate, too large, cut.
      "\x80@b",
      "\xc0\xaf@b",
      "\xed\xa0\x80@b",
      "\xf4\x90\x80\x80@b",
      "a@\xe2\x82",
      // C1 control, line separator; dots that are none.
      "\xc2\x85@b",
      "\xe2\x80\xa8@b",
      "a@b。c",
      "a@b\xef\xbc\x8e"
      "c",
      absl::StrCat(std::string(65, 'a'), "@b"),
      absl::StrCat("a@", std::string(64, 'b')),
      absl::StrCat("\"", std::string(65, 'a'), "\"@b"),
      absl::StrCat("a@", std::string(63, 'b'), ".", std::string(63, 'b'), ".", std::string(63, 'b'),
                   ".", std::string(63, 'b'), ".b"),
  };
  for (const std::string& text : kCases) {
    EXPECT_EQ(ParseAddress(text, true).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(AddressTest, CanonicalLocalPartLowersAsciiAlone) {
  EXPECT_EQ(CanonicalLocalPart("AliCe+X"), "alice+x");
  EXPECT_EQ(CanonicalLocalPart("Ä"), "Ä");
}

}  // namespace
}  // namespace postern::mail
