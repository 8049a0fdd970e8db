#include "gateway-smtp/added_fields.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

namespace postern::gateway_smtp {
namespace {

ReceivedParts Usual() {
  ReceivedParts parts;
  parts.helo = "client.example.com";
  parts.client_address = "192.0.2.1";
  parts.hostname = "mx.example.test";
  parts.protocol = "ESMTPS";
  parts.tls = "TLSv1.3 TLS_AES_256_GCM_SHA384";
  parts.id = "00112233445566778899aabbccddeeff";
  parts.recipient = "alice@example.test";
  parts.time = absl::FromUnixSeconds(1795561974);
  return parts;
}

TEST(ReceivedTest, HasAllOfIt) {
  EXPECT_EQ(MakeReceived(Usual()),
            "Received: from client.example.com ([192.0.2.1])\r\n"
            "\tby mx.example.test with ESMTPS (TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n"
            "\tid 00112233445566778899aabbccddeeff\r\n"
            "\tfor <alice@example.test>;\r\n"
            "\tTue, 24 Nov 2026 23:12:54 +0000\r\n");
}

TEST(ReceivedTest, LeavesOutWhatThereIsNot) {
  ReceivedParts parts = Usual();
  parts.helo = "";
  parts.client_address = "2001:db8::1";
  parts.tls = "";
  parts.recipient = "";
  EXPECT_EQ(MakeReceived(parts),
            "Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n"
            "\tby mx.example.test with ESMTPS\r\n"
            "\tid 00112233445566778899aabbccddeeff;\r\n"
            "\tTue, 24 Nov 2026 23:12:54 +0000\r\n");
}

TEST(ReceivedTest, NothingCanBeInjected) {
  const std::string long_text(100000, 'a');
  const std::string hostile[] = {
      "x\r\nX-Injected: yes", "x) (by somewhere.else", "x\n.\n",    std::string("nul\0nul", 7),
      "x; Tue, 1 Jan 1980",   "\xff\xfe\x80",          "<>\"\\,()", long_text,
  };
  for (const std::string& text : hostile) {
    ReceivedParts parts = Usual();
    parts.helo = text;
    parts.recipient = text;
    const std::string field = MakeReceived(parts);
    EXPECT_LT(field.size(), 2048u);
    EXPECT_FALSE(absl::StrContains(field, "(by"));
    EXPECT_FALSE(absl::StrContains(field, '\0'));
    // Every line but the last begins the next with white space: one field.
    const std::vector<std::string> lines = absl::StrSplit(field, "\r\n");
    EXPECT_EQ(lines.back(), "");
    for (size_t i = 1; i + 1 < lines.size(); ++i) EXPECT_EQ(lines[i][0], '\t') << field;
    for (const std::string& line : lines) {
      EXPECT_LE(line.size(), 998u);
      EXPECT_FALSE(absl::StrContains(line, '\n') || absl::StrContains(line, '\r'));
    }
    EXPECT_EQ(std::count(field.begin(), field.end(), ';'), 1) << field;
    EXPECT_EQ(std::count(field.begin(), field.end(), '('),
              std::count(field.begin(), field.end(), ')'));
  }
}

// A next hop without SMTPUTF8 may still take the rest of the message.
TEST(ReceivedTest, IsAsciiWhateverTheRecipient) {
  ReceivedParts parts = Usual();
  for (const char* recipient : {"j\xc3\xbcrgen@example.test",
                                "x@b\xc3\xbc"
                                "cher.test"}) {
    parts.recipient = recipient;
    EXPECT_FALSE(absl::StrContains(MakeReceived(parts), "for <")) << recipient;
  }
}

TEST(DateTest, IsThatOfReceived) {
  EXPECT_EQ(MakeDate(Usual().time), "Date: Tue, 24 Nov 2026 23:12:54 +0000\r\n");
}

TEST(MessageIdTest, IsInTheSendersDomainOrOurs) {
  struct Case {
    std::string sender;
    std::string domain;
  };
  const Case kCases[] = {
      {"alice@example.test", "example.test"},
      {"\"a@b>\"@example.test", "example.test"},
      {"alice@[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"},
      {"", "mx.test"},
      {"alice@", "mx.test"},
      {"x@b\xc3\xbc"
       "cher.test",
       "mx.test"},
      {"x@a>\r\nX-Injected: y", "mx.test"},
      {"x@" + std::string(256, 'a'), "mx.test"},
  };
  for (const Case& c : kCases) {
    EXPECT_EQ(MakeMessageId("00ff", c.sender, "mx.test"),
              "Message-ID: <00ff@" + c.domain + ">\r\n");
  }
}

}  // namespace
}  // namespace postern::gateway_smtp
