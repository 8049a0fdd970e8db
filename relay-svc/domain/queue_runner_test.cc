#include "relay-svc/domain/queue_runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "boost/asio/co_spawn.hpp"
#include "boost/asio/io_context.hpp"
#include "relay-svc/domain/local_delivery.h"
#include "relay-svc/sqlite/sqlite_spool.h"
#include "services/async/wait.h"
#include "services/clients/testing/fake_auth_client.h"
#include "services/clients/testing/fake_store_client.h"

namespace postern::relay {
namespace {

using auth::v1::ResolveRecipientResponse;

constexpr absl::Duration kLong = absl::Seconds(30);
const absl::Time kStart = absl::FromUnixSeconds(1800000000);

// Counts attempts when they are over; answers by itself or asks another.
class Watched : public Deliverer {
 public:
  using Answer = std::function<DeliveryResult(const std::string& address)>;
  explicit Watched(Answer answer) : answer_(std::move(answer)) {}
  explicit Watched(Deliverer* inner) : inner_(inner) {}

  boost::asio::awaitable<std::vector<DeliveryResult>> Deliver(
      const SpooledMessage& message, const std::string& destination,
      const std::vector<DeliveryRecipient>& recipients, MessageBody& body) override {
    std::vector<DeliveryResult> results;
    if (inner_ != nullptr) {
      results = co_await inner_->Deliver(message, destination, recipients, body);
    } else {
      for (const DeliveryRecipient& recipient : recipients) {
        results.push_back(answer_(recipient.address));
      }
    }
    absl::MutexLock lock(&mutex_);
    destinations_.push_back(destination);
    senders_.push_back(message.sender);
    co_return results;
  }

  std::vector<std::string> WaitForAttempts(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return destinations_.size() >= count;
    };
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&enough), kLong));
    return destinations_;
  }
  size_t attempts() {
    absl::MutexLock lock(&mutex_);
    return destinations_.size();
  }
  std::vector<std::string> senders() {
    absl::MutexLock lock(&mutex_);
    return senders_;
  }

 private:
  Answer answer_;
  Deliverer* inner_ = nullptr;
  absl::Mutex mutex_;
  std::vector<std::string> destinations_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> senders_ ABSL_GUARDED_BY(mutex_);
};

class QueueRunnerTest : public testing::Test {
 protected:
  QueueRunnerTest() {
    static int number = 0;
    file_ = absl::StrCat(testing::TempDir(), "/runner-", ++number, ".db");
    OpenSpool();
    store_.AddMailbox("a1");
    store_.AddMailbox("b1");
    Local("alice@example.test", "a1");
    Local("bob@example.test", "b1");
    for (const char* remote : {"x@remote.test", "y@remote.test", "z@far.test"}) {
      Resolve(remote, ResolveRecipientResponse::OUTCOME_NOT_LOCAL);
    }
  }

  void OpenSpool() {
    absl::StatusOr<std::unique_ptr<Spool>> spool = OpenSqliteSpool(file_, {});
    ASSERT_TRUE(spool.ok()) << spool.status();
    spool_ = *std::move(spool);
  }

  void Local(const std::string& address, const std::string& mailbox_id) {
    ResolveRecipientResponse response;
    response.set_outcome(ResolveRecipientResponse::OUTCOME_LOCAL);
    response.add_mailboxes()->set_mailbox_id(mailbox_id);
    response.mutable_mailboxes(0)->set_address(address);
    directory_.SetRecipient(address, response);
  }
  // An alias that leads elsewhere, and to these mailboxes.
  void Forwarding(const std::string& alias, const std::vector<std::string>& mailbox_ids,
                  const std::vector<std::string>& forwards) {
    ResolveRecipientResponse response;
    response.set_outcome(ResolveRecipientResponse::OUTCOME_LOCAL);
    for (const std::string& id : mailbox_ids) {
      auth::v1::Mailbox* mailbox = response.add_mailboxes();
      mailbox->set_mailbox_id(id);
      mailbox->set_address(id + "-account@example.test");
    }
    for (const std::string& address : forwards) response.add_forwards(address);
    response.set_forward_sender("SRS0=@example.test");
    directory_.SetRecipient(alias, response);
  }
  void Resolve(const std::string& address, ResolveRecipientResponse::Outcome outcome) {
    ResolveRecipientResponse response;
    response.set_outcome(outcome);
    directory_.SetRecipient(address, response);
  }

  void StartRunner(absl::Duration lifetime = absl::Hours(120)) {
    QueueRunnerOptions options;
    options.hostname = "relay.example.test";
    options.schedule = RetrySchedule({absl::Seconds(60), absl::Seconds(120)}, lifetime);
    options.delay_warning = delay_warning_;
    options.clock = [this] { return absl::FromUnixSeconds(now_); };
    runner_ = std::make_unique<QueueRunner>(options, spool_.get(), &directory_, &local_, &remote_);
  }

  std::vector<JobKey> Enqueue(std::vector<NewMessage::Recipient> recipients,
                              const std::string& sender = "alice@example.test",
                              const std::string& body = kBody) {
    NewMessage message;
    message.message.queue_id = absl::StrCat("q", ++messages_);
    message.message.sender = sender;
    message.message.enqueued_at = kStart;
    message.recipients = std::move(recipients);
    std::unique_ptr<SpoolWriter> writer = spool_->NewMessageWriter();
    EXPECT_TRUE(
        async::Wait<absl::Status>([&](auto done) { writer->Write(body, std::move(done)); }).ok());
    absl::StatusOr<Committed> committed = async::Wait<absl::StatusOr<Committed>>(
        [&](auto done) { writer->Commit(std::move(message), std::move(done)); });
    EXPECT_TRUE(committed.ok()) << committed.status();
    return committed->due;
  }

  // Until the spool has the outcome of this many attempts for the message's first recipient.
  void WaitForRecord(const std::string& queue_id, int attempts) {
    absl::StatusOr<QueueEntry> entry;
    do {
      entry = async::Wait<absl::StatusOr<QueueEntry>>(
          [&](auto done) { spool_->Get(queue_id, std::move(done)); });
      ASSERT_TRUE(entry.ok()) << entry.status();
    } while (entry->recipients[0].attempts < attempts);
  }

  void Drain() { EXPECT_TRUE(runner_->Drain(kLong)); }
  void Advance(absl::Duration time) { now_ += absl::ToInt64Seconds(time); }

  static inline const std::string kBody =
      "Received: by gateway\r\nFrom: alice@example.test\r\nSubject: x\r\n\r\nbody\r\n";

  std::atomic<int64_t> now_ = absl::ToUnixSeconds(kStart);
  std::string file_;
  int messages_ = 0;
  absl::Duration delay_warning_ = absl::InfiniteDuration();
  std::unique_ptr<Spool> spool_;
  clients::FakeDirectoryClient directory_;
  clients::FakeDeliveryClient store_;
  LocalDelivery into_maildrops_{&store_};
  Watched local_{&into_maildrops_};
  std::function<DeliveryResult(const std::string&)> answer_ = [](const std::string&) {
    return DeliveryResult::Delivered("250 ok");
  };
  Watched remote_{[this](const std::string& address) { return answer_(address); }};
  std::unique_ptr<QueueRunner> runner_;
};

TEST_F(QueueRunnerTest, NewMailIsTriedAtOnce) {
  StartRunner();
  runner_->Offer(Enqueue({{"bob@example.test", ""}}));
  local_.WaitForAttempts(1);
  Drain();
  EXPECT_EQ(spool_->messages(), 0);
  const auto delivered = store_.delivered();
  ASSERT_EQ(delivered.size(), 1u);
  EXPECT_EQ(delivered[0].body(), kBody);
  EXPECT_EQ(delivered[0].header().envelope_sender(), "alice@example.test");
  ASSERT_EQ(delivered[0].header().recipients_size(), 1);
  EXPECT_EQ(delivered[0].header().recipients(0).mailbox_id(), "b1");
  EXPECT_EQ(delivered[0].header().recipients(0).original_recipient(), "bob@example.test");
}

TEST_F(QueueRunnerTest, WhoIsReachedInSeveralWaysGetsOneCopy) {
  auth::v1::ResolveRecipientResponse both;
  both.set_outcome(auth::v1::ResolveRecipientResponse::OUTCOME_LOCAL);
  both.add_mailboxes()->set_mailbox_id("b1");
  both.add_mailboxes()->set_mailbox_id("a1");
  directory_.SetRecipient("all@example.test", both);
  StartRunner();
  runner_->Offer(
      Enqueue({{"bob@example.test", ""}, {"all@example.test", ""}, {"alice@example.test", ""}}));
  local_.WaitForAttempts(1);
  Drain();
  EXPECT_EQ(spool_->messages(), 0);
  std::vector<std::string> mailboxes;
  for (const store::v1::DeliverRequest& request : store_.delivered()) {
    for (const auto& recipient : request.header().recipients()) {
      mailboxes.push_back(recipient.mailbox_id());
    }
  }
  std::sort(mailboxes.begin(), mailboxes.end());
  EXPECT_EQ(mailboxes, (std::vector<std::string>{"a1", "b1"}));
}

// all@ leads to bob, who is full, and to alice, who is a recipient of her own as well.
TEST_F(QueueRunnerTest, AFullMemberOfAnAliasWaitsForItself) {
  auth::v1::ResolveRecipientResponse both;
  both.set_outcome(auth::v1::ResolveRecipientResponse::OUTCOME_LOCAL);
  both.add_mailboxes()->set_mailbox_id("b1");
  both.mutable_mailboxes(0)->set_address("bob@example.test");
  both.add_mailboxes()->set_mailbox_id("a1");
  both.mutable_mailboxes(1)->set_address("alice@example.test");
  directory_.SetRecipient("all@example.test", both);
  store_.SetFull("b1", true);
  StartRunner();
  const std::vector<JobKey> keys = Enqueue({{"all@example.test", ""}, {"alice@example.test", ""}});
  runner_->Offer(keys);
  local_.WaitForAttempts(1);
  WaitForRecord("q1", 1);
  ASSERT_EQ(store_.delivered().size(), 1u);
  EXPECT_EQ(store_.delivered()[0].header().recipients(0).mailbox_id(), "a1");
  absl::StatusOr<QueueEntry> entry = async::Wait<absl::StatusOr<QueueEntry>>(
      [&](auto done) { spool_->Get("q1", std::move(done)); });
  ASSERT_TRUE(entry.ok()) << entry.status();
  ASSERT_EQ(entry->recipients.size(), 3u);
  EXPECT_EQ(entry->recipients[0].state, QueueEntry::State::kDelivered);
  EXPECT_EQ(entry->recipients[1].state, QueueEntry::State::kDelivered);
  EXPECT_EQ(entry->recipients[2].address, "bob@example.test");
  EXPECT_EQ(entry->recipients[2].state, QueueEntry::State::kWaiting);
  EXPECT_EQ(entry->recipients[2].attempts, 1);

  store_.SetFull("b1", false);
  Advance(absl::Minutes(2));
  runner_->Wake();
  local_.WaitForAttempts(2);
  Drain();
  EXPECT_EQ(spool_->messages(), 0);
  ASSERT_EQ(store_.delivered().size(), 2u);
  EXPECT_EQ(store_.delivered()[1].header().recipients(0).mailbox_id(), "b1");
}

// The alias and one of its members are recipients; the other member is full for good. Nobody is
// taken for delivered who has nothing, and the full one is bounced for itself.
TEST_F(QueueRunnerTest, AFullMemberOfAnAliasIsBouncedForItself) {
  auth::v1::ResolveRecipientResponse both;
  both.set_outcome(auth::v1::ResolveRecipientResponse::OUTCOME_LOCAL);
  both.add_mailboxes()->set_mailbox_id("b1");
  both.mutable_mailboxes(0)->set_address("bob@example.test");
  both.add_mailboxes()->set_mailbox_id("c1");
  both.mutable_mailboxes(1)->set_address("carol@example.test");
  directory_.SetRecipient("all@example.test", both);
  Local("carol@example.test", "c1");
  store_.AddMailbox("c1");
  store_.SetFull("b1", true);
  StartRunner(/*lifetime=*/absl::ZeroDuration());
  runner_->Offer(Enqueue({{"all@example.test", ""}, {"carol@example.test", ""}}));
  // The message, and the notice to alice.
  local_.WaitForAttempts(2);
  Drain();
  EXPECT_EQ(spool_->messages(), 0);
  const auto delivered = store_.delivered();
  ASSERT_EQ(delivered.size(), 2u);
  EXPECT_EQ(delivered[0].header().recipients(0).mailbox_id(), "c1");
  EXPECT_EQ(delivered[1].header().recipients(0).mailbox_id(), "a1");
  EXPECT_TRUE(absl::StrContains(delivered[1].body(), "Final-Recipient: rfc822; bob@example.test"))
      << delivered[1].body();
  EXPECT_FALSE(absl::StrContains(delivered[1].body(), "carol@example.test"));
}

TEST_F(QueueRunnerTest, WhatLeadsElsewhereGoesOnAsAMessageOfItsOwn) {
  Forwarding("out@example.test", {}, {"x@remote.test", "z@far.test"});
  Forwarding("too@example.test", {"a1"}, {"x@remote.test"});
  StartRunner();
  runner_->Offer(
      Enqueue({{"out@example.test", ""}, {"too@example.test", ""}}, "carol@elsewhere.test"));
  // Each once, however it is reached.
  std::vector<std::string> destinations = remote_.WaitForAttempts(2);
  Drain();
  std::sort(destinations.begin(), destinations.end());
  EXPECT_EQ(destinations, (std::vector<std::string>{"far.test", "remote.test"}));
  EXPECT_EQ(remote_.senders(), (std::vector<std::string>(2, "SRS0=@example.test")));
  ASSERT_EQ(store_.delivered().size(), 1u);
  EXPECT_EQ(store_.delivered()[0].header().envelope_sender(), "carol@elsewhere.test");
  EXPECT_EQ(spool_->messages(), 0);
}

// What has gone on does not go again with the second try for a mailbox.
TEST_F(QueueRunnerTest, AMailboxBesideAForwardWaitsForItself) {
  for (const bool away : {false, true}) {
    Forwarding("too@example.test", {"b1"}, {"x@remote.test"});
    Local("b1-account@example.test", "b1");
    store_.SetFull("b1", !away);
    if (away) store_.FailNext(absl::UnavailableError("away"));
    StartRunner();
    runner_->Offer(Enqueue({{"too@example.test", ""}}, "carol@elsewhere.test"));
    const std::string queue_id = absl::StrCat("q", messages_);
    remote_.WaitForAttempts(away ? 2 : 1);
    const auto entry = async::Wait<absl::StatusOr<QueueEntry>>(
        [&](auto done) { spool_->Get(queue_id, std::move(done)); });
    ASSERT_TRUE(entry.ok()) << entry.status();
    ASSERT_EQ(entry->recipients.size(), 2u);
    EXPECT_EQ(entry->recipients[0].state, QueueEntry::State::kDelivered);
    EXPECT_EQ(entry->recipients[1].address, "b1-account@example.test");
    EXPECT_EQ(entry->recipients[1].attempts, away ? 0 : 1);
    store_.SetFull("b1", false);
    Advance(absl::Minutes(2));
    runner_->Wake();
    local_.WaitForAttempts(away ? 4 : 2);
    Drain();
    EXPECT_EQ(remote_.attempts(), away ? 2u : 1u);
    EXPECT_EQ(spool_->messages(), 0);
  }
  EXPECT_EQ(store_.delivered().size(), 2u);
}

// The sender is told of a forward that no mail goes to, as of any recipient.
TEST_F(QueueRunnerTest, AForwardThatIsNoAddressIsBounced) {
  Forwarding("out@example.test", {}, {"x@remote.test", "nowhere@"});
  StartRunner();
  runner_->Offer(Enqueue({{"out@example.test", ""}}));
  remote_.WaitForAttempts(1);
  local_.WaitForAttempts(1);
  Drain();
  ASSERT_EQ(store_.delivered().size(), 1u);
  EXPECT_TRUE(absl::StrContains(store_.delivered()[0].body(), "nowhere@"));
  EXPECT_EQ(spool_->messages(), 0);
}

// Two domains that became ours could send a message to and fro.
TEST_F(QueueRunnerTest, WhatHasGoneOnDoesNotGoOnAgain) {
  Forwarding("x@remote.test", {"b1"}, {"z@far.test"});
  StartRunner();
  runner_->Offer(Enqueue({{"x@remote.test", "remote.test"}}));
  // The notice.
  local_.WaitForAttempts(1);
  Drain();
  EXPECT_EQ(remote_.attempts(), 0u);
  ASSERT_EQ(store_.delivered().size(), 1u);
  EXPECT_TRUE(absl::StrContains(store_.delivered()[0].body(), "Status: 5.4.6"));
  EXPECT_EQ(spool_->messages(), 0);
}

TEST_F(QueueRunnerTest, OneAttemptPerDestination) {
  StartRunner();
  runner_->Offer(Enqueue({{"x@remote.test", "remote.test"},
                          {"bob@example.test", ""},
                          {"z@far.test", "far.test"},
                          {"y@remote.test", "remote.test"}}));
  local_.WaitForAttempts(1);
  std::vector<std::string> destinations = remote_.WaitForAttempts(2);
  Drain();
  std::sort(destinations.begin(), destinations.end());
  EXPECT_EQ(destinations, (std::vector<std::string>{"far.test", "remote.test"}));
  EXPECT_EQ(spool_->messages(), 0);
}

TEST_F(QueueRunnerTest, WhatWasSpooledBeforeAStartIsDue) {
  Enqueue({{"x@remote.test", "remote.test"}});
  spool_.reset();
  OpenSpool();
  StartRunner();
  remote_.WaitForAttempts(1);
  Drain();
  EXPECT_EQ(spool_->messages(), 0);
}

TEST_F(QueueRunnerTest, TemporaryFailuresAreTriedAgainOnSchedule) {
  answer_ = [](const std::string&) { return DeliveryResult::Temporary("4.2.0", "450 later"); };
  StartRunner();
  runner_->Offer(Enqueue({{"x@remote.test", "remote.test"}}));
  remote_.WaitForAttempts(1);
  Drain();
  absl::StatusOr<QueueEntry> entry = async::Wait<absl::StatusOr<QueueEntry>>(
      [&](auto done) { spool_->Get("q1", std::move(done)); });
  ASSERT_TRUE(entry.ok()) << entry.status();
  EXPECT_EQ(entry->recipients[0].attempts, 1);
  EXPECT_GE(entry->recipients[0].next_attempt_at, kStart + absl::Seconds(60));
  EXPECT_LE(entry->recipients[0].next_attempt_at, kStart + absl::Seconds(66));

  // Not before its time.
  Advance(absl::Seconds(59));
  Enqueue({{"bob@example.test", ""}});
  StartRunner();
  local_.WaitForAttempts(1);
  Drain();
  EXPECT_EQ(remote_.attempts(), 1u);

  Advance(absl::Seconds(10));
  answer_ = [](const std::string&) { return DeliveryResult::Delivered("250 ok"); };
  StartRunner();
  remote_.WaitForAttempts(2);
  Drain();
  EXPECT_EQ(spool_->messages(), 0);
  EXPECT_EQ(store_.delivered().size(), 1u);
}

TEST_F(QueueRunnerTest, WhatFailedTogetherIsTriedAgainTogether) {
  answer_ = [](const std::string&) { return DeliveryResult::Temporary("4.2.0", "450 later"); };
  StartRunner();
  runner_->Offer(Enqueue({{"x@remote.test", "remote.test"}, {"y@remote.test", "remote.test"}}));
  remote_.WaitForAttempts(1);
  Drain();
  absl::StatusOr<QueueEntry> entry = async::Wait<absl::StatusOr<QueueEntry>>(
      [&](auto done) { spool_->Get("q1", std::move(done)); });
  ASSERT_TRUE(entry.ok()) << entry.status();
  EXPECT_EQ(entry->recipients[0].next_attempt_at, entry->recipients[1].next_attempt_at);
}

TEST_F(QueueRunnerTest, ARunningRunnerWakesForARetry) {
  std::atomic<int> tries = 0;
  answer_ = [&](const std::string&) {
    return ++tries < 3 ? DeliveryResult::Temporary("4.2.0", "450 later")
                       : DeliveryResult::Delivered("250 ok");
  };
  StartRunner();
  runner_->Offer(Enqueue({{"x@remote.test", "remote.test"}}));
  remote_.WaitForAttempts(1);
  for (int attempt = 2; attempt <= 3; ++attempt) {
    WaitForRecord("q1", attempt - 1);
    Advance(absl::Seconds(200));
    runner_->Wake();
    remote_.WaitForAttempts(static_cast<size_t>(attempt));
  }
  Drain();
  EXPECT_EQ(spool_->messages(), 0);
}

TEST_F(QueueRunnerTest, APermanentFailureBouncesToTheEnvelopeSender) {
  answer_ = [](const std::string& address) {
    if (address != "x@remote.test") return DeliveryResult::Delivered("250 ok");
    DeliveryResult result = DeliveryResult::Permanent("5.1.1", "550 5.1.1 nobody");
    result.is_reply = true;
    result.remote_mta = "mx.remote.test";
    return result;
  };
  StartRunner();
  runner_->Offer(Enqueue({{"x@remote.test", "remote.test"}, {"y@remote.test", "remote.test"}}));
  local_.WaitForAttempts(1);
  Drain();
  EXPECT_EQ(spool_->messages(), 0);
  const auto delivered = store_.delivered();
  ASSERT_EQ(delivered.size(), 1u);
  EXPECT_EQ(delivered[0].header().envelope_sender(), "");
  EXPECT_EQ(delivered[0].header().recipients(0).mailbox_id(), "a1");
  for (const char* part :
       {"To: <alice@example.test>\r\n", "Final-Recipient: rfc822; x@remote.test\r\n",
        "Status: 5.1.1\r\n", "Diagnostic-Code: smtp; 550 5.1.1 nobody\r\n",
        "Remote-MTA: dns; mx.remote.test\r\n", "Subject: x\r\n"}) {
    EXPECT_TRUE(absl::StrContains(delivered[0].body(), part)) << part << delivered[0].body();
  }
  EXPECT_FALSE(absl::StrContains(delivered[0].body(), "y@remote.test"));
  EXPECT_EQ(remote_.attempts(), 1u);
}

TEST_F(QueueRunnerTest, TheSenderIsToldOnceThatARecipientWaits) {
  delay_warning_ = absl::Hours(4);
  answer_ = [](const std::string& address) {
    if (address == "y@remote.test") return DeliveryResult::Delivered("250 ok");
    DeliveryResult result = DeliveryResult::Temporary("4.2.0", "450 4.2.0 busy");
    result.is_reply = true;
    return result;
  };
  Enqueue({{"x@remote.test", "remote.test"}, {"y@remote.test", "remote.test"}});
  // A null sender is never told.
  Enqueue({{"z@far.test", "far.test"}}, "");
  size_t attempts = 0;
  for (const absl::Duration later :
       {absl::ZeroDuration(), absl::Hours(3), absl::Hours(1), absl::Hours(1)}) {
    Advance(later);
    StartRunner();
    remote_.WaitForAttempts(attempts += 2);
    Drain();
  }
  StartRunner();
  local_.WaitForAttempts(1);
  Drain();
  const auto delivered = store_.delivered();
  ASSERT_EQ(delivered.size(), 1u);
  EXPECT_EQ(delivered[0].header().envelope_sender(), "");
  EXPECT_EQ(delivered[0].header().recipients(0).mailbox_id(), "a1");
  for (const char* part :
       {"Final-Recipient: rfc822; x@remote.test\r\nAction: delayed\r\nStatus: 4.2.0\r\n",
        "Diagnostic-Code: smtp; 450 4.2.0 busy\r\n", "Will-Retry-Until: "}) {
    EXPECT_TRUE(absl::StrContains(delivered[0].body(), part)) << part << delivered[0].body();
  }
  EXPECT_FALSE(absl::StrContains(delivered[0].body(), "y@remote.test"));
  EXPECT_EQ(spool_->messages(), 2) << "both still wait";
}

TEST_F(QueueRunnerTest, PredecessorDefectBouncesAddressedToTheNullSender) {
  answer_ = [](const std::string&) { return DeliveryResult::Permanent("5.1.1", "550 nobody"); };
  StartRunner();
  runner_->Offer(Enqueue({{"x@remote.test", "remote.test"}}, ""));
  remote_.WaitForAttempts(1);
  Drain();
  EXPECT_EQ(spool_->messages(), 0);
  EXPECT_EQ(local_.attempts(), 0u);
}

TEST_F(QueueRunnerTest, PredecessorDefectUnknownUserCrashedDelivery) {
  Resolve("gone@example.test", ResolveRecipientResponse::OUTCOME_UNKNOWN);
  Resolve("off@example.test", ResolveRecipientResponse::OUTCOME_DISABLED);
  StartRunner();
  runner_->Offer(Enqueue({{"gone@example.test", ""}, {"off@example.test", ""}}));
  local_.WaitForAttempts(1);
  Drain();
  EXPECT_EQ(spool_->messages(), 0);
  const auto delivered = store_.delivered();
  ASSERT_EQ(delivered.size(), 1u);
  EXPECT_TRUE(absl::StrContains(delivered[0].body(), "Status: 5.1.1\r\n"));
  EXPECT_TRUE(absl::StrContains(delivered[0].body(), "Status: 5.2.1\r\n"));
}

TEST_F(QueueRunnerTest, TooLongInTheQueue) {
  answer_ = [](const std::string&) { return DeliveryResult::Temporary("4.2.0", "450 later"); };
  StartRunner(absl::Seconds(90));
  runner_->Offer(Enqueue({{"x@remote.test", "remote.test"}}));
  remote_.WaitForAttempts(1);
  Drain();
  Advance(absl::Seconds(100));
  StartRunner(absl::Seconds(90));
  local_.WaitForAttempts(1);
  Drain();
  EXPECT_EQ(remote_.attempts(), 2u);
  EXPECT_EQ(spool_->messages(), 0);
  ASSERT_EQ(store_.delivered().size(), 1u);
  EXPECT_TRUE(absl::StrContains(store_.delivered()[0].body(), "Status: 4.4.7\r\n"));
  EXPECT_TRUE(absl::StrContains(store_.delivered()[0].body(), "450 later"));
}

TEST_F(QueueRunnerTest, AMessageThatLoopsFails) {
  std::string body;
  for (int i = 0; i < 101; ++i) body += "Received: by somebody\r\n";
  StartRunner();
  runner_->Offer(Enqueue({{"x@remote.test", "remote.test"}}, "alice@example.test",
                         body + "From: alice@example.test\r\n\r\n"));
  local_.WaitForAttempts(1);
  Drain();
  EXPECT_EQ(remote_.attempts(), 0u);
  ASSERT_EQ(store_.delivered().size(), 1u);
  EXPECT_TRUE(absl::StrContains(store_.delivered()[0].body(), "Status: 5.4.6\r\n"));
}

TEST_F(QueueRunnerTest, AFullMailboxWaitsAndTheOthersDoNot) {
  store_.SetFull("b1", true);
  StartRunner();
  runner_->Offer(Enqueue({{"bob@example.test", ""}, {"alice@example.test", ""}}));
  local_.WaitForAttempts(1);
  Drain();
  EXPECT_EQ(spool_->messages(), 1);
  ASSERT_EQ(store_.delivered().size(), 1u);
  EXPECT_EQ(store_.delivered()[0].header().recipients(0).mailbox_id(), "a1");
  store_.SetFull("b1", false);
  Advance(absl::Minutes(10));
  StartRunner();
  local_.WaitForAttempts(2);
  Drain();
  EXPECT_EQ(store_.delivered().size(), 2u);
  EXPECT_EQ(spool_->messages(), 0);
}

TEST_F(QueueRunnerTest, ServicesThatAreAwayLoseNothingAndAreAskedAgainSoon) {
  const auto waits = [this](const char* why) {
    const absl::StatusOr<QueueEntry> entry = async::Wait<absl::StatusOr<QueueEntry>>(
        [&](auto done) { spool_->Get("q1", std::move(done)); });
    ASSERT_TRUE(entry.ok()) << entry.status();
    EXPECT_EQ(entry->recipients[0].last_result, why);
    EXPECT_EQ(entry->recipients[0].attempts, 0) << "nobody was asked";
    EXPECT_LE(entry->recipients[0].next_attempt_at,
              absl::FromUnixSeconds(now_) + absl::Seconds(11));
  };
  directory_.FailNext(absl::UnavailableError("away"));
  StartRunner();
  runner_->Offer(Enqueue({{"bob@example.test", ""}}));
  Drain();
  waits("the directory is not available");
  store_.FailNext(absl::UnavailableError("away"));
  Advance(absl::Seconds(11));
  StartRunner();
  local_.WaitForAttempts(1);
  Drain();
  waits("the mail store is not available");
  Advance(absl::Seconds(11));
  StartRunner();
  local_.WaitForAttempts(2);
  Drain();
  EXPECT_EQ(spool_->messages(), 0);
  EXPECT_EQ(store_.delivered().size(), 1u);
}

TEST_F(QueueRunnerTest, ACrashBetweenDeliverAndItsRecordDuplicatesNothing) {
  EXPECT_EQ(LocalDeliveryId("q1", "b1").size(), 16u);
  EXPECT_NE(LocalDeliveryId("q1", "b1"), LocalDeliveryId("q2", "b1"));
  EXPECT_NE(LocalDeliveryId("q1", "b1"), LocalDeliveryId("q1", "e1"));
  const std::vector<JobKey> due = Enqueue({{"bob@example.test", ""}});
  for (int attempt = 0; attempt < 2; ++attempt) {
    // As the runner does, without the Record.
    absl::StatusOr<std::optional<Job>> job =
        async::Wait<absl::StatusOr<std::optional<Job>>>([&](auto done) {
          // The first one's claim has run out.
          const absl::Time now = kStart + attempt * absl::Hours(1);
          spool_->Claim(due[0], now, now + absl::Minutes(1), 0, std::move(done));
        });
    ASSERT_TRUE(job.ok() && job->has_value());
    std::vector<DeliveryRecipient> bob = {{"bob@example.test", {}}};
    bob[0].mailboxes.emplace_back().set_mailbox_id("b1");
    const std::string destination;
    MessageBody body(spool_.get(), (*job)->message);
    boost::asio::io_context context;
    std::vector<DeliveryResult> results;
    boost::asio::co_spawn(context, into_maildrops_.Deliver((*job)->message, destination, bob, body),
                          [&](std::exception_ptr, std::vector<DeliveryResult> answer) {
                            results = std::move(answer);
                          });
    context.run();
    ASSERT_EQ(results.size(), 1u);
    EXPECT_EQ(results[0].kind, DeliveryResult::Kind::kDelivered);
  }
  EXPECT_EQ(store_.delivered().size(), 1u);
}

TEST_F(QueueRunnerTest, ManyMessagesPassThroughASmallWindow) {
  constexpr int kMessages = 60;
  for (int i = 0; i < kMessages; ++i) {
    Enqueue({{"x@remote.test", "remote.test"}, {"bob@example.test", ""}});
  }
  QueueRunnerOptions options;
  options.clock = [this] { return absl::FromUnixSeconds(now_); };
  options.window = 10;
  options.window_per_destination = 4;
  options.max_sessions_per_destination = 2;
  runner_ = std::make_unique<QueueRunner>(options, spool_.get(), &directory_, &local_, &remote_);
  local_.WaitForAttempts(kMessages);
  remote_.WaitForAttempts(kMessages);
  Drain();
  EXPECT_EQ(spool_->messages(), 0);
  EXPECT_EQ(remote_.attempts(), size_t{kMessages});
}

}  // namespace
}  // namespace postern::relay
