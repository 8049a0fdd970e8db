#include "relay-svc/domain/dsn.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace postern::relay {
namespace {

using Action = ReportedRecipient::Action;

DeliveryNotice Notice() {
  DeliveryNotice notice;
  notice.hostname = "relay.example.test";
  notice.sender = "alice@example.test";
  notice.queue_id = "0123456789abcdef";
  notice.arrived_at = absl::FromUnixSeconds(1795562574);
  notice.attempted_at = absl::FromUnixSeconds(1795562580);
  notice.recipients = {
      {Action::kFailed, "bob@remote.test", "5.1.1", "550 5.1.1 no such user", true,
       "mx.remote.test"},
      {Action::kFailed, "eve@gone.test", "5.1.2", "no such domain: gone.test", false, ""},
  };
  notice.message = "From: alice@example.test\r\nSubject: hi\r\n\r\nsecret body\r\n";
  notice.unique = "00112233445566778899aabbccddeeff";
  return notice;
}

TEST(DsnTest, Golden) {
  const std::string expected = R"(Date: Tue, 24 Nov 2026 23:23:00 +0000
From: Mail Delivery System <MAILER-DAEMON@relay.example.test>
To: <alice@example.test>
Subject: Undelivered mail returned to sender
Message-ID: <00112233445566778899aabbccddeeff@relay.example.test>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
 boundary="postern-00112233445566778899aabbccddeeff"

--postern-00112233445566778899aabbccddeeff
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

This is the mail system at relay.example.test.

Your message could not be delivered to:

  <bob@remote.test>
    mx.remote.test said: 550 5.1.1 no such user

  <eve@gone.test>
    no such domain: gone.test

No further attempt will be made.

The header of your message follows.

--postern-00112233445566778899aabbccddeeff
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example.test
X-Postern-Queue-ID: 0123456789abcdef
Arrival-Date: Tue, 24 Nov 2026 23:22:54 +0000

Final-Recipient: rfc822; bob@remote.test
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.remote.test
Diagnostic-Code: smtp; 550 5.1.1 no such user
Last-Attempt-Date: Tue, 24 Nov 2026 23:23:00 +0000

Final-Recipient: rfc822; eve@gone.test
Action: failed
Status: 5.1.2
Diagnostic-Code: x-postern; no such domain: gone.test
Last-Attempt-Date: Tue, 24 Nov 2026 23:23:00 +0000

--postern-00112233445566778899aabbccddeeff
Content-Type: text/rfc822-headers

From: alice@example.test
Subject: hi

--postern-00112233445566778899aabbccddeeff--
)";
  EXPECT_EQ(BuildDeliveryNotice(Notice()), absl::StrReplaceAll(expected, {{"\n", "\r\n"}}));
}

TEST(DsnTest, WhatWaitsIsDelayedBesideWhatFailed) {
  DeliveryNotice notice = Notice();
  notice.expires_at = absl::FromUnixSeconds(1795562574) + absl::Hours(120);
  notice.recipients[0] = {Action::kDelayed, "bob@remote.test", "4.2.0", "450 4.2.0 busy", true,
                          "mx.remote.test"};
  const std::string both = BuildDeliveryNotice(notice);
  for (const char* part :
       {"Subject: Undelivered mail returned to sender\r\n",
        "could not be delivered to:\r\n\r\n  <eve@gone.test>\r\n    no such domain: "
        "gone.test\r\n\r\n"
        "No further attempt will be made.\r\n\r\n"
        "Your message could not yet be delivered to:\r\n\r\n  <bob@remote.test>\r\n"
        "    mx.remote.test said: 450 4.2.0 busy\r\n\r\n"
        "It is tried until Sun, 29 Nov 2026 23:22:54 +0000. You need not send it again.\r\n",
        "rfc822; bob@remote.test\r\nAction: delayed\r\nStatus: 4.2.0\r\n",
        "Will-Retry-Until: Sun, 29 Nov 2026 23:22:54 +0000\r\n",
        "rfc822; eve@gone.test\r\nAction: failed\r\nStatus: 5.1.2\r\n"}) {
    EXPECT_TRUE(absl::StrContains(both, part)) << part << both;
  }
  notice.recipients.pop_back();
  const std::string delayed = BuildDeliveryNotice(notice);
  EXPECT_TRUE(absl::StrContains(delayed, "Subject: Delayed mail, which is still being tried\r\n"));
  EXPECT_FALSE(absl::StrContains(delayed, "No further attempt"));
}

TEST(DsnTest, Utf8Forms) {
  DeliveryNotice notice = Notice();
  EXPECT_FALSE(NeedsUtf8(notice));
  notice.recipients[0].address = "bøb@remote.test";
  notice.message = "Subject: grüß\r\n\r\n";
  EXPECT_TRUE(NeedsUtf8(notice));
  const std::string dsn = BuildDeliveryNotice(notice);
  for (const char* part :
       {"report-type=global-delivery-status", "Content-Type: message/global-delivery-status\r\n",
        "Final-Recipient: utf-8; bøb@remote.test\r\n", "Final-Recipient: rfc822; eve@gone.test\r\n",
        "Content-Type: message/global-headers\r\n"}) {
    EXPECT_TRUE(absl::StrContains(dsn, part)) << part;
  }
}

TEST(DsnTest, WhatARemoteHostSaidStaysOneLine) {
  DeliveryNotice notice = Notice();
  notice.recipients[0].diagnostic = absl::StrCat("550 x\r\n\r\n--", std::string(5000, 'y'));
  const std::string dsn = BuildDeliveryNotice(notice);
  EXPECT_TRUE(absl::StrContains(dsn, "Diagnostic-Code: smtp; 550 x    --yyy"));
  EXPECT_FALSE(absl::StrContains(dsn, std::string(1000, 'y')));
}

TEST(DsnTest, TheReturnedHeaderIsBoundedAndHasNoBody) {
  DeliveryNotice notice = Notice();
  const std::string field = absl::StrCat("X: ", std::string(900, 'x'), "\r\n");
  std::string message;
  while (message.size() < 3 * kMaxReturnedHeaderOctets) message += field;
  notice.message = message;
  EXPECT_LT(BuildDeliveryNotice(notice).size(), kMaxReturnedHeaderOctets + 4096);
  // A header that was cut in the middle of a line.
  notice.message = "A: 1\r\nB: 2";
  EXPECT_TRUE(absl::StrContains(BuildDeliveryNotice(notice), "\r\n\r\nA: 1\r\n\r\n--"));
}

}  // namespace
}  // namespace postern::relay
