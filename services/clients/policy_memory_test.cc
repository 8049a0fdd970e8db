#include "services/clients/policy_memory.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace postern::clients {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const SteadyTime kNow = SteadyTime() + std::chrono::hours(1);

relay::v1::CheckRecipientResponse Recipient(int ttl, relay::v1::Refusal refusal = {}) {
  relay::v1::CheckRecipientResponse response;
  response.set_ttl_seconds(ttl);
  response.set_refusal(refusal);
  response.add_mailboxes()->set_mailbox_id("m");
  return response;
}

relay::v1::CheckConnectionResponse Connection(int ttl, relay::v1::Refusal refusal = {}) {
  relay::v1::CheckConnectionResponse response;
  response.set_ttl_seconds(ttl);
  response.set_refusal(refusal);
  return response;
}

TEST(NetworkOfTest, NetworksOfAddresses) {
  EXPECT_EQ(NetworkOf("192.0.2.1"), NetworkOf("192.0.2.255"));
  EXPECT_NE(NetworkOf("192.0.2.1"), NetworkOf("192.0.3.1"));
  EXPECT_EQ(NetworkOf("::ffff:192.0.2.1"), NetworkOf("192.0.2.9"));
  EXPECT_EQ(NetworkOf("2001:db8:1:2::1"), NetworkOf("2001:db8:1:2:ffff::"));
  EXPECT_NE(NetworkOf("2001:db8:1:2::1"), NetworkOf("2001:db8:1:3::1"));
  // No IPv4 network has an IPv6 one's key.
  EXPECT_EQ(NetworkOf("192.0.2.1").size(), 3u);
  EXPECT_EQ(NetworkOf("2001:db8::1").size(), 8u);
  for (const char* address :
       {"", "unknown", "192.0.2", "192.0.2.1 ", "fe80::1%eth0", "1.2.3.4.5"}) {
    EXPECT_EQ(NetworkOf(address), "") << address;
  }
  EXPECT_EQ(NetworkOf(std::string(1000, ':')), "");
}

TEST(PolicyMemoryTest, KeepsUntilTheTimeIsUp) {
  PolicyMemory memory;
  EXPECT_EQ(memory.FindRecipient("a@x", kNow), nullptr);
  memory.KeepRecipient("a@x", Recipient(5), kNow);
  ASSERT_NE(memory.FindRecipient("a@x", kNow + milliseconds(4999)), nullptr);
  EXPECT_EQ(memory.FindRecipient("a@x", kNow)->mailboxes(0).mailbox_id(), "m");
  EXPECT_EQ(memory.FindRecipient("a@x", kNow + seconds(5)), nullptr);
  EXPECT_EQ(memory.FindRecipient("A@x", kNow), nullptr);
}

TEST(PolicyMemoryTest, AZeroOrNegativeTimeIsNone) {
  PolicyMemory memory;
  for (const int ttl : {0, -1, -2147483647 - 1}) {
    memory.KeepRecipient("a@x", Recipient(ttl), kNow);
    EXPECT_EQ(memory.FindRecipient("a@x", kNow), nullptr);
    memory.KeepConnection("net", Connection(ttl), kNow);
    EXPECT_EQ(memory.FindConnection("net", kNow), nullptr);
  }
}

TEST(PolicyMemoryTest, FiveMinutesIsTheLongest) {
  PolicyMemory memory;
  memory.KeepRecipient("a@x", Recipient(2147483647), kNow);
  EXPECT_NE(memory.FindRecipient("a@x", kNow + seconds(299)), nullptr);
  EXPECT_EQ(memory.FindRecipient("a@x", kNow + seconds(300)), nullptr);
}

TEST(PolicyMemoryTest, RefusedRecipientsAreAskedForEachTime) {
  PolicyMemory memory;
  memory.KeepRecipient("a@x", Recipient(60, relay::v1::REFUSAL_UNKNOWN_USER), kNow);
  EXPECT_EQ(memory.FindRecipient("a@x", kNow), nullptr);
}

TEST(PolicyMemoryTest, RefusedNetworksAreKeptForASecond) {
  PolicyMemory memory;
  memory.KeepConnection("net", Connection(60, relay::v1::REFUSAL_CLIENT), kNow);
  EXPECT_NE(memory.FindConnection("net", kNow + milliseconds(999)), nullptr);
  EXPECT_EQ(memory.FindConnection("net", kNow + seconds(1)), nullptr);
  memory.KeepConnection("", Connection(60), kNow);
  EXPECT_EQ(memory.FindConnection("", kNow), nullptr);
}

TEST(PolicyMemoryTest, WhatIsTooLargeIsNotKept) {
  PolicyMemory memory;
  relay::v1::CheckRecipientResponse large = Recipient(60);
  large.add_mailboxes()->set_address(std::string(2048, 'a'));
  memory.KeepRecipient("a@x", large, kNow);
  EXPECT_EQ(memory.FindRecipient("a@x", kNow), nullptr);
  const std::string address(513, 'a');
  memory.KeepRecipient(address, Recipient(60), kNow);
  EXPECT_EQ(memory.FindRecipient(address, kNow), nullptr);
}

TEST(AnswerTableTest, HoldsNoMoreThanItMay) {
  AnswerTable<int> table(10);
  for (int i = 0; i < 1000; ++i) {
    table.Keep(absl::StrCat(i), std::make_shared<int>(i), kNow + seconds(1));
    // The newest are there, whatever had to go.
    for (int j = std::max(0, i - 4); j <= i; ++j) {
      ASSERT_NE(table.Find(absl::StrCat(j), kNow), nullptr) << i << " " << j;
      ASSERT_EQ(*table.Find(absl::StrCat(j), kNow), j);
    }
    int known = 0;
    for (int j = 0; j <= i; ++j) known += table.Find(absl::StrCat(j), kNow) != nullptr;
    ASSERT_LE(known, 10);
  }
  // A newer answer takes the place of an older one.
  table.Keep("999", std::make_shared<int>(1), kNow + seconds(1));
  EXPECT_EQ(*table.Find("999", kNow), 1);
}

}  // namespace
}  // namespace postern::clients
