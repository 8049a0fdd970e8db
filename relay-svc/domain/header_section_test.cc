#include "relay-svc/domain/header_section.h"

#include <gtest/gtest.h>

namespace postern::relay {
namespace {

using Originators = std::vector<std::string>;

TEST(HeaderSectionTest, EndsAtTheEmptyLine) {
  const struct {
    const char* message;
    const char* section;
    bool whole;
  } cases[] = {
      {"A: 1\r\nB: 2\r\n\r\nbody\r\n", "A: 1\r\nB: 2\r\n", true},
      {"A: 1\r\n\r\n", "A: 1\r\n", true},
      {"A: 1\r\n", "A: 1\r\n", false},
      {"\r\nbody\r\n", "", true},
      {"", "", false},
      {"A: 1\r\n\r", "A: 1\r\n\r", false},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(HeaderSectionOf(c.message), c.section) << c.message;
    EXPECT_EQ(HasWholeHeader(c.message), c.whole) << c.message;
  }
}

TEST(HeaderSectionTest, CountsReceived) {
  EXPECT_EQ(
      CountReceived("Received: a\r\nFrom: x@y\r\nRECEIVED: b\r\n c\r\n\r\nReceived: body\r\n"), 2);
}

TEST(HeaderSectionTest, ReadsOriginators) {
  const struct {
    const char* section;
    Originators originators;
  } cases[] = {
      {"From: alice@a.test\r\n", {"alice@a.test"}},
      {"from: Alice <alice@a.test>\r\nDate: x\r\nMessage-Id: <1@a>\r\n", {"alice@a.test"}},
      {"From: a@a.test, \"B\" <b@a.test>\r\nSender: c@a.test\r\n",
       {"a@a.test", "b@a.test", "c@a.test"}},
      {"From:\r\n alice@a.test (me)\r\n", {"alice@a.test"}},
      {"Subject: no From\r\n", {}},
      {"", {}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.section);
    const absl::StatusOr<Originators> originators = ReadOriginators(c.section);
    ASSERT_TRUE(originators.ok()) << originators.status();
    EXPECT_EQ(*originators, c.originators);
  }
}

TEST(HeaderSectionTest, RefusesWhatCouldHideAnOriginator) {
  const char* const sections[] = {
      "From: alice@a.test\r\nFrom: alice@a.test\r\n",
      "From: alice@a.test\r\nSender: alice@a.test\r\nSender: alice@a.test\r\n",
      "From: alice@a.test\r\nSender:\r\n",
      "From: undisclosed:;\r\n",
      "From: alice@a.test <\r\n",
      "From: Alice\r\n",
      "From: alice@a.test\r\nthis is no field\r\nFrom: ceo@a.test\r\n",
      "this is no field\r\nFrom: alice@a.test\r\n",
      " From: alice@a.test\r\n",
  };
  for (const char* section : sections) {
    EXPECT_TRUE(absl::IsInvalidArgument(ReadOriginators(section).status())) << section;
  }
}

}  // namespace
}  // namespace postern::relay
