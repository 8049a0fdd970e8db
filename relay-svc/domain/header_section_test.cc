#include "relay-svc/domain/header_section.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

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
    bool has_date, has_message_id;
  } cases[] = {
      {"From: alice@a.test\r\n", {"alice@a.test"}, false, false},
      {"from: Alice <alice@a.test>\r\nDate: x\r\nMessage-Id: <1@a>\r\n",
       {"alice@a.test"},
       true,
       true},
      {"From: a@a.test, \"B\" <b@a.test>\r\nSender: c@a.test\r\n",
       {"a@a.test", "b@a.test", "c@a.test"},
       false,
       false},
      {"From:\r\n alice@a.test (me)\r\n", {"alice@a.test"}, false, false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.section);
    const absl::StatusOr<SubmittedHeader> header = ReadSubmittedHeader(c.section);
    ASSERT_TRUE(header.ok()) << header.status();
    EXPECT_EQ(header->originators, c.originators);
    EXPECT_EQ(header->has_date, c.has_date);
    EXPECT_EQ(header->has_message_id, c.has_message_id);
  }
}

TEST(HeaderSectionTest, RefusesWhatCouldHideAnOriginator) {
  const char* const sections[] = {
      "",
      "Subject: no From\r\n",
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
    EXPECT_TRUE(absl::IsInvalidArgument(ReadSubmittedHeader(section).status())) << section;
  }
}

TEST(HeaderSectionTest, AddsWhatIsMissing) {
  const absl::Time now = absl::FromUnixSeconds(1795562574);
  EXPECT_EQ(MissingFields({}, now, "0123", "relay.test"),
            "Date: Tue, 24 Nov 2026 23:22:54 +0000\r\nMessage-ID: <0123@relay.test>\r\n");
  SubmittedHeader header;
  header.has_date = true;
  EXPECT_EQ(MissingFields(header, now, "0123", "relay.test"), "Message-ID: <0123@relay.test>\r\n");
  header.has_message_id = true;
  EXPECT_EQ(MissingFields(header, now, "0123", "relay.test"), "");
}

}  // namespace
}  // namespace postern::relay
