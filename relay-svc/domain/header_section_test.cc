#include "relay-svc/domain/header_section.h"

#include <gtest/gtest.h>

#include <optional>

#include "services/clients/content_fault.h"

namespace postern::relay {
namespace {

using Fault = v1::ContentFault;
using Addresses = std::vector<std::string>;

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

TEST(HeaderSectionTest, HopsThroughHere) {
  const struct {
    const char* section;
    int hops;
  } cases[] = {
      {"Received: from a (b)\r\n\tby mx.here with ESMTP\r\n\tid 1; now\r\n", 1},
      {"Received: from a by mx.here with X\r\nReceived: from c by mx.there\r\n"
       "RECEIVED: from d\r\n\tBY MX.here; then\r\nX: Received: by mx.here\r\n",
       2},
      {"Received: nothing\r\nReceived: by\r\n", 0},
      {"", 0},
  };
  for (const auto& c : cases) EXPECT_EQ(HopsThroughHere(c.section), c.hops) << c.section;
}

TEST(HeaderSectionTest, ReadsOriginators) {
  const struct {
    const char* section;
    Addresses originators;
    bool from = true;
  } cases[] = {
      {"From: alice@a.test\r\n", {"alice@a.test"}},
      {"from: Alice <alice@a.test>\r\nDate: x\r\nMessage-Id: <1@a>\r\n", {"alice@a.test"}},
      {"From: a@a.test, \"B\" <b@a.test>\r\nSender: c@a.test\r\n",
       {"a@a.test", "b@a.test", "c@a.test"}},
      {"From:\r\n alice@a.test (me)\r\n", {"alice@a.test"}},
      {"From: a@a.test\r\nResent-From: b@a.test\r\nresent-sender: c@a.test\r\nResent-From: "
       "d@a.test\r\n",
       {"a@a.test", "b@a.test", "c@a.test", "d@a.test"}},
      {"Subject: no From\r\n", {}, false},
      {"Resent-From: b@a.test\r\n", {"b@a.test"}, false},
      {"", {}, false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.section);
    const absl::StatusOr<Originators> originators = ReadOriginators(c.section);
    ASSERT_TRUE(originators.ok()) << originators.status();
    EXPECT_EQ(originators->addresses, c.originators);
    EXPECT_EQ(originators->from, c.from);
  }
}

TEST(HeaderSectionTest, RefusesWhatCouldHideAnOriginator) {
  const struct {
    const char* section;
    Fault::Kind kind;
    const char* field;
  } cases[] = {
      {"From: alice@a.test\r\nFrom: alice@a.test\r\n", Fault::KIND_REPEATED, "From"},
      {"From: alice@a.test\r\nSender: alice@a.test\r\nSENDER: alice@a.test\r\n",
       Fault::KIND_REPEATED, "Sender"},
      {"From: alice@a.test\r\nSender:\r\n", Fault::KIND_UNREADABLE, "Sender"},
      {"From: undisclosed:;\r\n", Fault::KIND_NO_ADDRESS, "From"},
      {"From: alice@a.test <\r\n", Fault::KIND_UNREADABLE, "From"},
      {"From: Alice\r\n", Fault::KIND_UNREADABLE, "From"},
      {"From: J\xfcrgen <alice@a.test>\r\n", Fault::KIND_NOT_UTF8, "From"},
      {"From: alice@a.test\r\nResent-From: Eve\r\n", Fault::KIND_UNREADABLE, "Resent-From"},
      {"From: alice@a.test\r\nthis is no field\r\nFrom: ceo@a.test\r\n", Fault::KIND_NO_FIELD, ""},
      {"this is no field\r\nFrom: alice@a.test\r\n", Fault::KIND_NO_FIELD, ""},
      {" From: alice@a.test\r\n", Fault::KIND_NO_FIELD, ""},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.section);
    const absl::Status status = ReadOriginators(c.section).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    const std::optional<Fault> fault = clients::ContentFaultOf(status);
    ASSERT_TRUE(fault.has_value());
    EXPECT_EQ(fault->kind(), c.kind);
    EXPECT_EQ(fault->field(), c.field);
  }
}

}  // namespace
}  // namespace postern::relay
