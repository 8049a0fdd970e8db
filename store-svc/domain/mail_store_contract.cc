#include "store-svc/domain/mail_store_contract.h"

#include <atomic>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "services/async/wait.h"

namespace postern::store {
namespace {}  // namespace

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(MailStoreContract);

MailStoreContract::MailStoreContract()
    : harness_(GetParam()({.quota_messages = kQuotaMessages,
                           .quota_octets = kQuotaOctets,
                           .max_waiting = 100,
                           .clock = [this] { return now_; }})) {}

std::string MailStoreContract::Id(absl::string_view name) {
  std::string id(name);
  id.resize(16, '\0');
  return id;
}

MailboxId MailStoreContract::Mailbox(char last) const {
  const std::string digits = absl::BytesToHexString(std::string(15, '\0') + last);
  const int32_t shard = harness_->shard();
  return *MailboxId::Parse(shard == 0 ? digits : absl::StrCat(shard, "-", digits));
}

Delivery MailStoreContract::MakeDelivery(absl::string_view id, absl::string_view mailboxes) {
  Delivery delivery{.delivery_id = Id(id)};
  for (const char last : mailboxes) {
    delivery.recipients.push_back(
        {Mailbox(last), absl::StrCat("P: ", std::string(1, last), "\r\n")});
  }
  return delivery;
}

absl::StatusOr<DeliveryResult> MailStoreContract::Deliver(absl::string_view id,
                                                          absl::string_view mailboxes,
                                                          absl::string_view body) {
  return async::Wait<absl::StatusOr<DeliveryResult>>(
      [&](auto done) { store().Deliver(MakeDelivery(id, mailboxes), body, std::move(done)); });
}

std::vector<MessageEntry> MailStoreContract::Entries(const MailboxId& mailbox) {
  absl::StatusOr<ListingStart> start = store().StartListing(mailbox, 1000);
  EXPECT_TRUE(start.ok()) << start.status();
  return start->first_page;
}

std::string MailStoreContract::Read(const MailboxId& mailbox, uint64_t uid) {
  absl::StatusOr<StoredMessage> message = store().Read(mailbox, uid);
  if (!message.ok()) return message.status().ToString();
  std::string all = message->prefix + message->first_piece;
  for (int64_t index = 1; all.size() < message->octets; ++index) {
    absl::StatusOr<std::string> piece = store().ReadPiece(message->body, index);
    if (!piece.ok()) return piece.status().ToString();
    all += *piece;
  }
  return all;
}

absl::Status MailStoreContract::Delete(const MailboxId& mailbox, std::vector<uint64_t> uids) {
  return async::Wait<absl::Status>(
      [&](auto done) { store().Delete(mailbox, kNoFence, std::move(uids), std::move(done)); });
}

absl::Status MailStoreContract::Append(StagedBody& body, absl::string_view piece) {
  return async::Wait<absl::Status>([&](auto done) { body.Append(piece, std::move(done)); });
}

absl::StatusOr<DeliveryResult> MailStoreContract::DeliverStaged(StagedBody& body,
                                                                Delivery delivery) {
  return async::Wait<absl::StatusOr<DeliveryResult>>(
      [&](auto done) { body.Deliver(std::move(delivery), std::move(done)); });
}

TEST_P(MailStoreContract, AMessageComesBackAsItWent) {
  const std::string body("Subject: x\r\n\r\n.\r\n\0\xff no newline", 31);
  ASSERT_TRUE(Deliver("1", "a", body).ok());
  const std::vector<MessageEntry> entries = Entries(Mailbox('a'));
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(Read(Mailbox('a'), entries[0].uid), "P: a\r\n" + body);
  EXPECT_EQ(entries[0].octets, 6 + body.size()) << "LIST is exact";
}

TEST_P(MailStoreContract, SmallMessagesAreReadTogether) {
  for (const char* body : {"1", "22", "", "4444", "55555"}) {
    ASSERT_TRUE(Deliver(absl::StrCat("id", body), "a", body).ok());
  }
  ASSERT_TRUE(Deliver("b", "b", "another's").ok());
  ASSERT_TRUE(Delete(Mailbox('a'), {2}).ok());
  constexpr uint64_t kPrefix = 6;
  struct Case {
    const char* what;
    uint64_t uid;
    uint64_t before_uid;
    size_t limit;
    uint64_t max_octets;
    std::vector<uint64_t> uids;
    uint64_t next_uid;
  };
  for (const Case& c : std::vector<Case>{
           {"all", 1, 99, 99, 1000, {1, 3, 4, 5}, 0},
           {"before a uid", 1, 4, 99, 1000, {1, 3}, 0},
           {"a limit", 1, 99, 2, 1000, {1, 3}, 4},
           {"octets, exactly", 3, 99, 99, 2 * kPrefix + 4, {3, 4}, 5},
           {"octets, one less", 3, 99, 99, 2 * kPrefix + 3, {3}, 4},
           {"the last", 5, 6, 1, 1000, {5}, 0},
       }) {
    const absl::StatusOr<WholeMessages> whole =
        store().ReadWhole(Mailbox('a'), c.uid, c.before_uid, c.limit, c.max_octets);
    ASSERT_TRUE(whole.ok()) << c.what << ": " << whole.status();
    std::vector<uint64_t> uids;
    for (const WholeMessages::Message& message : whole->messages) {
      uids.push_back(message.uid);
      EXPECT_EQ(message.octets, Read(Mailbox('a'), message.uid)) << c.what;
    }
    EXPECT_EQ(uids, c.uids) << c.what;
    EXPECT_EQ(whole->next_uid, c.next_uid) << c.what;
  }
  EXPECT_TRUE(absl::IsNotFound(store().ReadWhole(Mailbox('a'), 2, 99, 1, 1000).status()));
  EXPECT_TRUE(absl::IsNotFound(store().ReadWhole(Mailbox('a'), 5, 5, 1, 1000).status()));
  EXPECT_TRUE(absl::IsNotFound(store().ReadWhole(Mailbox('c'), 1, 99, 1, 1000).status()));
  EXPECT_TRUE(absl::IsOutOfRange(store().ReadWhole(Mailbox('a'), 5, 99, 1, kPrefix).status()));
}

TEST_P(MailStoreContract, AnEmptyBodyIsABody) {
  ASSERT_TRUE(Deliver("1", "a", "").ok());
  EXPECT_EQ(Read(Mailbox('a'), 1), "P: a\r\n");
}

TEST_P(MailStoreContract, EveryRecipientHasItsOwnEnvelopeAndTheBodyIsOne) {
  ASSERT_TRUE(Deliver("1", "abc", "body\r\n").ok());
  for (const char last : {'a', 'b', 'c'}) {
    EXPECT_EQ(Read(Mailbox(last), 1), absl::StrCat("P: ", std::string(1, last), "\r\nbody\r\n"));
  }
  ASSERT_TRUE(Deliver("2", "a", "body\r\n").ok());
  EXPECT_EQ(harness_->CountBodies(), 1) << "by content, over deliveries too";
  ASSERT_TRUE(Delete(Mailbox('a'), {1, 2}).ok());
  ASSERT_TRUE(Delete(Mailbox('b'), {1}).ok());
  EXPECT_EQ(Read(Mailbox('c'), 1), "P: c\r\nbody\r\n");
  ASSERT_TRUE(Delete(Mailbox('c'), {1}).ok());
  EXPECT_EQ(harness_->CountBodies(), 0);
}

TEST_P(MailStoreContract, OneIdOneEffect) {
  ASSERT_FALSE(Deliver("1", "ab", "body")->repeated);
  for (int i = 0; i < 2; ++i) {
    absl::StatusOr<DeliveryResult> again = Deliver("1", "ab", "body");
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(again->repeated);
    harness_->Reopen();
  }
  EXPECT_EQ(Entries(Mailbox('a')).size(), 1u);
  ASSERT_FALSE(Deliver("2", "ab", "body")->repeated);
  EXPECT_EQ(Entries(Mailbox('a')).size(), 2u);
}

TEST_P(MailStoreContract, TheSameIdWithOtherContentsIsRefused) {
  ASSERT_TRUE(Deliver("1", "ab", "body").ok());
  EXPECT_TRUE(absl::IsAlreadyExists(Deliver("1", "ab", "other").status()));
  EXPECT_TRUE(absl::IsAlreadyExists(Deliver("1", "a", "body").status()));
  EXPECT_TRUE(absl::IsAlreadyExists(Deliver("1", "abc", "body").status()));
  Delivery other_envelope = MakeDelivery("1", "ab");
  other_envelope.recipients[1].prefix = "P: x\r\n";
  EXPECT_TRUE(absl::IsAlreadyExists(async::Wait<absl::StatusOr<DeliveryResult>>([&](auto done) {
                                      store().Deliver(other_envelope, "body", std::move(done));
                                    }).status()));
  EXPECT_EQ(Entries(Mailbox('a')).size(), 1u);
  EXPECT_EQ(Entries(Mailbox('c')).size(), 0u);
  EXPECT_EQ(harness_->CountBodies(), 1);
}

TEST_P(MailStoreContract, UidsAscendAndNeverRepeat) {
  ASSERT_TRUE(Deliver("1", "a", "one").ok());
  ASSERT_TRUE(Deliver("2", "a", "two").ok());
  const uint32_t validity = store().StartListing(Mailbox('a'), 10)->uid_validity;
  ASSERT_TRUE(Delete(Mailbox('a'), {1, 2}).ok());
  now_ += absl::Hours(1);
  harness_->Reopen();
  ASSERT_TRUE(Deliver("3", "a", "three").ok());
  const std::vector<MessageEntry> entries = Entries(Mailbox('a'));
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].uid, 3u);
  EXPECT_EQ(store().StartListing(Mailbox('a'), 10)->uid_validity, validity);
  EXPECT_NE(validity, 0u);
}

TEST_P(MailStoreContract, AllRecipientsOrNone) {
  for (uint64_t i = 0; i < kQuotaMessages; ++i) {
    ASSERT_TRUE(Deliver(absl::StrCat("fill", i), "b", absl::StrCat("body ", i)).ok());
  }
  const int64_t bodies = harness_->CountBodies();
  EXPECT_TRUE(absl::IsResourceExhausted(Deliver("1", "abc", "new").status()));
  EXPECT_EQ(Entries(Mailbox('a')).size(), 0u);
  EXPECT_EQ(Entries(Mailbox('c')).size(), 0u);
  EXPECT_EQ(harness_->CountBodies(), bodies);
  // What was refused had no effect: its id is free for the retry, when there is room.
  ASSERT_TRUE(Delete(Mailbox('b'), {1}).ok());
  EXPECT_FALSE(Deliver("1", "abc", "new")->repeated);
}

TEST_P(MailStoreContract, QuotasAreLookedAtBeforeTheMessage) {
  const std::string large(250 << 10, 'x');
  int taken = 0;
  absl::Status refused;
  while (refused.ok()) {
    refused = Deliver(absl::StrCat("d", taken), "a", absl::StrCat(taken, large)).status();
    taken += refused.ok();
  }
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  const MailboxUsage usage = *store().Usage(Mailbox('a'));
  EXPECT_GE(usage.octets, kQuotaOctets) << "below its quota it takes a message of any size";
  EXPECT_LT(usage.octets, kQuotaOctets + large.size() + 100);
  EXPECT_EQ(usage.quota_octets, kQuotaOctets);
  EXPECT_EQ(usage.quota_messages, kQuotaMessages);

  const MailboxId ids[] = {Mailbox('a')};
  EXPECT_EQ(*store().FindFull(ids), std::vector<MailboxId>({Mailbox('a')}));
  ASSERT_TRUE(Delete(Mailbox('a'), {1}).ok());
  EXPECT_TRUE(store().FindFull(ids)->empty());
}

TEST_P(MailStoreContract, AMailboxMayHaveAQuotaOfItsOwn) {
  const auto set = [&](char mailbox, const QuotaChange& change) {
    return async::Wait<absl::Status>(
        [&](auto done) { store().SetQuota(Mailbox(mailbox), change, std::move(done)); });
  };
  const auto quotas = [&](char mailbox) {
    const MailboxUsage usage = *store().Usage(Mailbox(mailbox));
    return std::pair(usage.quota_messages, usage.quota_octets);
  };
  // One that is yet to come into being, and one that holds mail.
  ASSERT_TRUE(Deliver("1", "b", "first").ok());
  for (const char mailbox : {'a', 'b'}) {
    ASSERT_TRUE(set(mailbox, {.messages = 2, .octets = {}}).ok());
    EXPECT_EQ(quotas(mailbox), std::pair(uint64_t{2}, kQuotaOctets));
    ASSERT_TRUE(set(mailbox, {.messages = {}, .octets = 5000}).ok());
    EXPECT_EQ(quotas(mailbox), std::pair(uint64_t{2}, uint64_t{5000}));
  }
  EXPECT_TRUE(Entries(Mailbox('a')).empty());
  ASSERT_TRUE(Deliver("2", "ab", "second").ok());
  EXPECT_EQ(Entries(Mailbox('a'))[0].uid, 1u);
  EXPECT_EQ(Entries(Mailbox('b'))[1].uid, 2u);
  const MailboxId ids[] = {Mailbox('a'), Mailbox('b')};
  EXPECT_EQ(*store().FindFull({&ids[1], 1}), std::vector<MailboxId>({Mailbox('b')}));
  EXPECT_TRUE(absl::IsResourceExhausted(Deliver("3", "b", "third").status()));
  EXPECT_TRUE(Deliver("4", "a", "third").ok());

  ASSERT_TRUE(set('b', {.messages = 0, .octets = 0}).ok());
  EXPECT_EQ(quotas('b'), std::pair(kQuotaMessages, kQuotaOctets));
  EXPECT_TRUE(Deliver("3", "b", "third").ok());
}

TEST_P(MailStoreContract, AFullMemberOfAnAliasIsNoHindranceToTheOthers) {
  const auto to_alias = [&](const std::string& id) {
    Delivery delivery = MakeDelivery(id, "ab");
    delivery.leads_to = {{0, 1}};
    return async::Wait<absl::StatusOr<DeliveryResult>>(
        [&](auto done) { store().Deliver(delivery, "body " + id, std::move(done)); });
  };
  for (uint64_t i = 0; i < kQuotaMessages; ++i) {
    ASSERT_TRUE(Deliver(absl::StrCat("fill", i), "a", absl::StrCat("body ", i)).ok());
  }
  const MailboxId alias[] = {Mailbox('a'), Mailbox('b')};
  EXPECT_TRUE(absl::IsResourceExhausted(Deliver("1", "a", "for itself").status()));
  EXPECT_TRUE(absl::IsResourceExhausted(Deliver("2", "ab", "each for itself").status()));
  for (uint64_t i = 0; i < kQuotaMessages - 1; ++i) {
    EXPECT_TRUE(store().FindFull(alias)->empty());
    ASSERT_TRUE(to_alias(absl::StrCat("alias", i)).ok());
  }
  // Its last free place.
  ASSERT_TRUE(to_alias("last").ok());
  // Both are full now, and one twice.
  EXPECT_EQ(*store().FindFull(alias), std::vector<MailboxId>(alias, alias + 2));
  EXPECT_TRUE(absl::IsResourceExhausted(to_alias("more").status()));
  ASSERT_TRUE(Delete(Mailbox('b'), {1}).ok());
  EXPECT_EQ(*store().FindFull(alias), std::vector<MailboxId>({Mailbox('a')}));
  EXPECT_TRUE(absl::IsResourceExhausted(to_alias("more").status()));
  ASSERT_TRUE(Delete(Mailbox('a'), {1}).ok());
  EXPECT_TRUE(to_alias("more").ok());
  EXPECT_EQ(Entries(Mailbox('a')).size(), 2 * kQuotaMessages);
}

TEST_P(MailStoreContract, ARepeatedDeliveryIsAnsweredThoughTheMailboxIsFullNow) {
  for (uint64_t i = 0; i < kQuotaMessages; ++i) {
    ASSERT_TRUE(Deliver(absl::StrCat("fill", i), "a", absl::StrCat("body ", i)).ok());
  }
  EXPECT_TRUE(Deliver("fill0", "a", "body 0")->repeated);
}

TEST_P(MailStoreContract, ListsInPagesOfOneMoment) {
  for (int i = 1; i <= 7; ++i) {
    ASSERT_TRUE(Deliver(absl::StrCat(i), "a", std::string(i, 'x')).ok());
  }
  ASSERT_TRUE(Delete(Mailbox('a'), {2, 5}).ok());
  absl::StatusOr<ListingStart> start = store().StartListing(Mailbox('a'), 2);
  ASSERT_TRUE(start.ok()) << start.status();
  EXPECT_EQ(start->messages, 5u);
  EXPECT_EQ(start->octets, 5 * 6u + 1 + 3 + 4 + 6 + 7);
  ASSERT_EQ(start->first_page.size(), 2u);
  ASSERT_TRUE(Deliver("later", "a", "later").ok());
  std::vector<uint64_t> uids;
  for (const MessageEntry& entry : start->first_page) uids.push_back(entry.uid);
  for (;;) {
    absl::StatusOr<std::vector<MessageEntry>> page =
        store().List(Mailbox('a'), uids.back(), start->uid_next, 2);
    ASSERT_TRUE(page.ok()) << page.status();
    if (page->empty()) break;
    for (const MessageEntry& entry : *page) uids.push_back(entry.uid);
  }
  EXPECT_EQ(uids, std::vector<uint64_t>({1, 3, 4, 6, 7}));
}

TEST_P(MailStoreContract, AMailboxWithoutMailIsAnEmptyOne) {
  absl::StatusOr<ListingStart> start = store().StartListing(Mailbox('n'), 10);
  ASSERT_TRUE(start.ok()) << start.status();
  EXPECT_EQ(start->messages, 0u);
  EXPECT_TRUE(start->first_page.empty());
  EXPECT_TRUE(absl::IsNotFound(store().Read(Mailbox('n'), 1).status()));
  EXPECT_TRUE(absl::IsNotFound(store().Usage(Mailbox('n')).status()));
  EXPECT_TRUE(Delete(Mailbox('n'), {1}).ok());
}

TEST_P(MailStoreContract, DeletionTouchesOnlyWhatWasNamed) {
  ASSERT_TRUE(Deliver("1", "ab", "one").ok());
  ASSERT_TRUE(Deliver("2", "a", "two").ok());
  ASSERT_TRUE(Delete(Mailbox('a'), {1, 1, 99}).ok()) << "twice, and what is not there";
  EXPECT_EQ(Entries(Mailbox('a')).size(), 1u);
  EXPECT_EQ(Read(Mailbox('a'), 2), "P: a\r\ntwo");
  EXPECT_TRUE(absl::IsNotFound(store().Read(Mailbox('a'), 1).status()));
  EXPECT_EQ(Read(Mailbox('b'), 1), "P: b\r\none");
  const MailboxUsage usage = *store().Usage(Mailbox('a'));
  EXPECT_EQ(usage.messages, 1u);
  EXPECT_EQ(usage.octets, 9u);
}

TEST_P(MailStoreContract, ALargeBodyComesInPieces) {
  const std::string first(kMaxPieceOctets, 'a');
  const std::string second(kMaxPieceOctets, 'b');
  std::unique_ptr<StagedBody> body = store().StageBody(Mailbox('a'));
  ASSERT_TRUE(Append(*body, first).ok());
  EXPECT_TRUE(Entries(Mailbox('a')).empty()) << "invisible until it is delivered";
  ASSERT_TRUE(Append(*body, second).ok());
  ASSERT_TRUE(Append(*body, "end").ok());
  absl::StatusOr<DeliveryResult> result = DeliverStaged(*body, MakeDelivery("1", "ab"));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->repeated);
  body.reset();
  harness_->Reopen();
  EXPECT_EQ(Read(Mailbox('a'), 1), "P: a\r\n" + first + second + "end");
  EXPECT_EQ(store().ReadWhole(Mailbox('a'), 1, 2, 1, 10 << 20)->messages.at(0).octets,
            "P: a\r\n" + first + second + "end");
  EXPECT_EQ(Entries(Mailbox('b'))[0].octets, 6 + 2 * kMaxPieceOctets + 3);

  // Again: the effect of the first time, and nothing left over.
  body = store().StageBody(Mailbox('a'));
  ASSERT_TRUE(Append(*body, first).ok());
  ASSERT_TRUE(Append(*body, second).ok());
  ASSERT_TRUE(Append(*body, "end").ok());
  EXPECT_TRUE(DeliverStaged(*body, MakeDelivery("1", "ab"))->repeated);
  body.reset();
  EXPECT_EQ(Entries(Mailbox('a')).size(), 1u);

  body = store().StageBody(Mailbox('a'));
  ASSERT_TRUE(Append(*body, "other").ok());
  EXPECT_TRUE(absl::IsAlreadyExists(DeliverStaged(*body, MakeDelivery("1", "ab")).status()));
  body.reset();
  harness_->Reopen();
  EXPECT_EQ(harness_->CountBodies(), 1);
}

TEST_P(MailStoreContract, AStagedBodyWithoutPiecesIsEmpty) {
  std::unique_ptr<StagedBody> body = store().StageBody(Mailbox('a'));
  ASSERT_TRUE(DeliverStaged(*body, MakeDelivery("1", "a")).ok());
  body.reset();
  EXPECT_EQ(Read(Mailbox('a'), 1), "P: a\r\n");
}

TEST_P(MailStoreContract, AStagedBodyThatIsNotDeliveredIsDropped) {
  std::unique_ptr<StagedBody> body = store().StageBody(Mailbox('a'));
  ASSERT_TRUE(Append(*body, "half").ok());
  EXPECT_EQ(harness_->CountBodies(), 1);
  body.reset();
  harness_->Reopen();
  EXPECT_EQ(harness_->CountBodies(), 0);
}

TEST_P(MailStoreContract, PurgeEmptiesAndKeepsTheNumbering) {
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(Deliver(absl::StrCat(i), "ab", absl::StrCat("body ", i)).ok());
  }
  EXPECT_EQ(*async::Wait<absl::StatusOr<uint64_t>>(
                [&](auto done) { store().Purge(Mailbox('a'), std::move(done)); }),
            40u);
  EXPECT_TRUE(Entries(Mailbox('a')).empty());
  EXPECT_EQ(store().Usage(Mailbox('a'))->octets, 0u);
  EXPECT_EQ(Entries(Mailbox('b')).size(), 40u);
  ASSERT_TRUE(Deliver("new", "a", "new").ok());
  EXPECT_EQ(Entries(Mailbox('a'))[0].uid, 41u);
}

TEST_P(MailStoreContract, ListsMailboxesInPages) {
  ASSERT_TRUE(Deliver("1", "dbca", "body").ok());
  std::string seen;
  std::optional<MailboxId> after;
  for (;;) {
    absl::StatusOr<std::vector<MailboxUsage>> page = store().ListMailboxes(after, 3);
    ASSERT_TRUE(page.ok()) << page.status();
    for (const MailboxUsage& usage : *page) seen += usage.mailbox.octets().back();
    if (page->size() < 3) break;
    after = page->back().mailbox;
  }
  EXPECT_EQ(seen, "abcd");
}

// As a session of many messages does at QUIT: others are served between, and whoever looks sees all
// of them or none.
TEST_P(MailStoreContract, ManyDeletionsKeepNobodyWaiting) {
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(Deliver(absl::StrCat(i), "a", "body").ok());
  std::vector<uint64_t> uids(2000);
  std::iota(uids.begin(), uids.end(), uint64_t{2});
  absl::Mutex mutex;
  std::string order;
  absl::BlockingCounter left(2);
  const auto note = [&](char who) {
    {
      absl::MutexLock lock(&mutex);
      order += who;
    }
    // The last use of what is this test's: it may be over then.
    left.DecrementCount();
  };
  store().Delete(Mailbox('a'), kNoFence, uids, [&](absl::Status status) {
    EXPECT_TRUE(status.ok()) << status;
    note('q');
  });
  store().Deliver(MakeDelivery("meanwhile", "b"), "body",
                  [&](absl::StatusOr<DeliveryResult> result) {
                    EXPECT_TRUE(result.ok()) << result.status();
                    note('d');
                  });
  left.Wait();
  EXPECT_EQ(order, "dq");
  EXPECT_EQ(Entries(Mailbox('a')).size(), 1u);
  EXPECT_EQ(store().Usage(Mailbox('a'))->messages, 1u);
  EXPECT_EQ(harness_->CountBodies(), 1);
}

TEST_P(MailStoreContract, ARestartFinishesDeletions) {
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(Deliver(absl::StrCat(i), "a", "body").ok());
  std::vector<uint64_t> uids(2000);
  std::iota(uids.begin(), uids.end(), uint64_t{1});
  std::atomic<int> answers = 0;
  store().Delete(Mailbox('a'), kNoFence, uids, [&](const absl::Status&) { ++answers; });
  harness_->Reopen();
  EXPECT_EQ(answers, 1);
  absl::StatusOr<ListingStart> start = store().StartListing(Mailbox('a'), 1000);
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (absl::IsUnavailable(start.status()) && absl::Now() < deadline) {
    start = store().StartListing(Mailbox('a'), 1000);
  }
  ASSERT_TRUE(start.ok()) << start.status();
  // Whether the restart came before it was set down or after.
  EXPECT_TRUE(start->messages == 0 || start->messages == 50) << start->messages;
  EXPECT_EQ(start->first_page.size(), start->messages);
}

TEST_P(MailStoreContract, ForgetsOldDeliveryIdsOldestFirst) {
  const absl::Time start = now_;
  for (int i = 0; i < 5; ++i) {
    now_ = start + absl::Seconds(i);
    ASSERT_TRUE(Deliver(absl::StrCat(i), "a", "body").ok());
  }
  const auto forget = [&](absl::Time before, size_t limit) {
    return *async::Wait<absl::StatusOr<size_t>>(
        [&](auto done) { store().ForgetDeliveries(before, limit, std::move(done)); });
  };
  EXPECT_EQ(forget(start, 100), 0u);
  EXPECT_EQ(forget(start + absl::Seconds(3), 2), 2u);
  EXPECT_EQ(forget(start + absl::Seconds(3), 2), 1u);
  EXPECT_EQ(forget(start + absl::Seconds(3), 2), 0u);
  EXPECT_TRUE(Deliver("3", "a", "body")->repeated);
  EXPECT_FALSE(Deliver("2", "a", "body")->repeated) << "forgotten, so it is a new one";
}

TEST_P(MailStoreContract, ConcurrentDeliveriesAreAllThere) {
  constexpr int kDeliveries = 40;
  absl::BlockingCounter left(kDeliveries);
  std::atomic<int> failed = 0;
  for (int i = 0; i < kDeliveries; ++i) {
    // Every second id is of the one before: who is first decides, the other repeats.
    store().Deliver(MakeDelivery(absl::StrCat(i / 2), "ab"), absl::StrCat("body ", i / 2),
                    [&](absl::StatusOr<DeliveryResult> result) {
                      failed += !result.ok();
                      left.DecrementCount();
                    });
  }
  left.Wait();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(Entries(Mailbox('a')).size(), kDeliveries / 2);
  EXPECT_EQ(harness_->CountBodies(), kDeliveries / 2);
}

TEST_P(MailStoreContract, TooManyWaitingWritesAreUnavailableAndNotAQuota) {
  absl::BlockingCounter left(1000);
  std::atomic<int> unavailable = 0;
  std::atomic<int> committed = 0;
  const Delivery delivery = MakeDelivery("1", "a");
  for (int i = 0; i < 1000; ++i) {
    store().Deliver(delivery, "body", [&](absl::StatusOr<DeliveryResult> result) {
      committed += result.ok();
      unavailable += absl::IsUnavailable(result.status());
      left.DecrementCount();
    });
  }
  left.Wait();
  EXPECT_EQ(committed + unavailable, 1000);
  EXPECT_GT(committed, 0);
}

}  // namespace postern::store
