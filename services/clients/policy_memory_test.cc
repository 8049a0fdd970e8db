#include "services/clients/policy_memory.h"

#include <algorithm>
#include <optional>

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

using Request = relay::v1::CheckConnectionRequest;

std::optional<relay::v1::CheckConnectionResponse> Find(PolicyMemory& memory, SteadyTime now,
                                                       absl::string_view network = "net") {
  Request request;
  return memory.FindConnection(network, &request, now);
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
    EXPECT_FALSE(Find(memory, kNow).has_value());
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
  EXPECT_TRUE(Find(memory, kNow + milliseconds(999)).has_value());
  EXPECT_FALSE(Find(memory, kNow + seconds(1)).has_value());
  memory.KeepConnection("", Connection(60), kNow);
  EXPECT_FALSE(Find(memory, kNow, "").has_value());
}

TEST(PolicyMemoryTest, AnAnswerHoldsForAsMuchAsIsLeft) {
  PolicyMemory memory;
  relay::v1::CheckConnectionResponse answer = Connection(60);
  answer.set_connections_left(2);
  answer.set_messages_left(1);
  memory.KeepConnection("net", answer, kNow);
  const auto ask = [&](Request::Event event, SteadyTime now) {
    Request request;
    request.set_event(event);
    return memory.FindConnection("net", &request, now).has_value()
               ? "known"
               : absl::StrCat("asked about ", request.connections(), " ", request.messages());
  };
  EXPECT_EQ(ask(Request::EVENT_CONNECTION, kNow), "known");
  EXPECT_EQ(ask(Request::EVENT_MESSAGE, kNow), "known");
  EXPECT_EQ(ask(Request::EVENT_CONNECTION, kNow), "known");
  EXPECT_EQ(ask(Request::EVENT_MESSAGE, kNow), "asked about 2 1");
  // Told once.
  EXPECT_EQ(ask(Request::EVENT_CONNECTION, kNow + seconds(61)), "asked about 0 0");

  memory.KeepConnection("net", Connection(60), kNow);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(ask(Request::EVENT_MESSAGE, kNow), "known");
  // The time of the answer is up, and what was done on it is told.
  EXPECT_EQ(ask(Request::EVENT_CONNECTION, kNow + seconds(60)), "asked about 0 100");
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
