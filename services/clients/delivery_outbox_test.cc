#include "services/clients/delivery_outbox.h"

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/channel.h"
#include "gtest/gtest.h"
#include "services/clients/testing/contract_server.h"
#include "services/identity/access.h"
#include "services/identity/test_pki.h"

namespace postern::clients {
namespace {

using Answer = absl::StatusOr<store::v1::DeliverResponse>;

class DeliveryOutboxTest : public testing::Test {
 protected:
  DeliveryOutboxTest() {
    fakes_.delivery.AddMailbox("alice");
    fakes_.delivery.AddMailbox("bob");
  }

  std::unique_ptr<DeliveryOutbox> MakeOutbox() {
    return std::make_unique<DeliveryOutbox>(NewStub());
  }
  std::shared_ptr<DeliveryOutbox::Stub> NewStub() {
    return store::v1::DeliveryService::NewStub(server_.ChannelOf(identity::kGatewaySmtpMx));
  }

  // Its id is `name`, filled up.
  static std::future<Answer> Send(DeliveryOutbox& outbox, const std::string& name,
                                  const std::string& mailbox = "alice", size_t octets = 100,
                                  absl::Duration time = absl::Seconds(30), int recipients = 1) {
    store::v1::DeliverRequest request;
    request.mutable_header()->set_delivery_id(name);
    request.mutable_header()->mutable_delivery_id()->resize(16);
    for (int i = 0; i < recipients; ++i) {
      store::v1::DeliveryRecipient& recipient = *request.mutable_header()->add_recipients();
      recipient.set_mailbox_id(mailbox);
      if (recipients > 1) recipient.set_address(std::string(560, 'a'));
    }
    request.set_body(name + std::string(octets, 'b'));
    auto promise = std::make_shared<std::promise<Answer>>();
    std::future<Answer> answer = promise->get_future();
    outbox.Deliver({rpc::TraceContext::New(), absl::Now() + time}, std::move(request),
                   [promise](Answer result) { promise->set_value(std::move(result)); });
    return answer;
  }

  static absl::Status Wait(std::future<Answer>& answer) {
    if (answer.wait_for(std::chrono::seconds(40)) != std::future_status::ready) {
      return absl::InternalError("never answered");
    }
    return answer.get().status();
  }

  Fakes fakes_;
  identity::TestPki pki_{absl::StrCat(testing::TempDir(), "/", absl::ToUnixNanos(absl::Now()))};
  ContractServer server_{&fakes_, &pki_};
};

TEST_F(DeliveryOutboxTest, MessagesThatWaitShareARequest) {
  const auto outbox = MakeOutbox();
  server_.HoldDeliverMany(true);
  constexpr int kThreads = 4;
  constexpr int kEach = 250;
  // More than the transport takes while nobody reads.
  std::vector<std::vector<std::future<Answer>>> answers(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        answers[t].push_back(Send(*outbox, absl::StrCat(t, " ", i), "alice", 4096));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  server_.HoldDeliverMany(false);
  for (auto& some : answers) {
    for (auto& answer : some) EXPECT_TRUE(Wait(answer).ok());
  }
  EXPECT_EQ(fakes_.delivery.delivered().size(), kThreads * kEach);
  EXPECT_EQ(server_.deliver_many_calls(), 1);
  EXPECT_LT(server_.deliver_many_requests(), kThreads * kEach / 4);
}

// Whatever they are made of, a request stays within what an RPC message may have.
TEST_F(DeliveryOutboxTest, LargeOnesAreNotPutTogether) {
  const auto outbox = MakeOutbox();
  server_.HoldDeliverMany(true);
  std::vector<std::future<Answer>> answers;
  for (int i = 0; i < 60; ++i) {
    const bool envelope = i % 2 == 0;
    answers.push_back(Send(*outbox, absl::StrCat(i), "alice", envelope ? 10 : 250 << 10,
                           absl::Seconds(30), envelope ? 900 : 1));
  }
  auto too_large = Send(*outbox, "too large", "alice", 250 << 10, absl::Seconds(30), 1500);
  EXPECT_TRUE(absl::IsInvalidArgument(Wait(too_large)));
  server_.HoldDeliverMany(false);
  for (auto& answer : answers) {
    const absl::Status status = Wait(answer);
    EXPECT_TRUE(status.ok()) << status;
  }
  EXPECT_EQ(server_.deliver_many_calls(), 1);
}

TEST_F(DeliveryOutboxTest, EachMessageHasItsOwnAnswer) {
  const auto outbox = MakeOutbox();
  fakes_.delivery.SetFull("bob", true);
  server_.HoldDeliverMany(true);
  auto first = Send(*outbox, "1", "alice");
  auto full = Send(*outbox, "2", "bob");
  auto again = Send(*outbox, "1", "alice");
  auto last = Send(*outbox, "3", "alice");
  server_.HoldDeliverMany(false);
  EXPECT_TRUE(Wait(first).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Wait(full)));
  const Answer repeated = again.get();
  ASSERT_TRUE(repeated.ok()) << repeated.status();
  EXPECT_TRUE(repeated->repeated_delivery());
  EXPECT_TRUE(Wait(last).ok());
}

TEST_F(DeliveryOutboxTest, ARestartLosesAndDoublesNothing) {
  const auto outbox = MakeOutbox();
  for (int round = 0; round < 5; ++round) {
    server_.HoldDeliverMany(true);
    std::vector<std::future<Answer>> answers;
    for (int i = 0; i < 40; ++i) {
      answers.push_back(Send(*outbox, absl::StrCat(round, " ", i), "alice", i % 2 == 0 ? 0 : 9000));
    }
    ASSERT_TRUE(server_.AwaitDeliverManyRequest());
    server_.Restart();
    server_.HoldDeliverMany(false);
    for (auto& answer : answers) EXPECT_TRUE(Wait(answer).ok());
  }
  EXPECT_EQ(fakes_.delivery.delivered().size(), 200u);
}

TEST_F(DeliveryOutboxTest, UnavailableIsRepeatedOtherErrorsAreAnswers) {
  const auto outbox = MakeOutbox();
  // Whether gRPC says first that the request was written or brings the answer first.
  for (int i = 0; i < 50; ++i) {
    fakes_.delivery.FailNext(absl::UnavailableError("too many writes wait"));
    auto repeated = Send(*outbox, absl::StrCat("repeated ", i));
    EXPECT_TRUE(Wait(repeated).ok());
  }
  EXPECT_EQ(server_.deliver_many_requests(), 100);
  fakes_.delivery.FailNext(absl::InternalError("disk"));
  auto failed = Send(*outbox, "failed");
  const absl::Status status = Wait(failed);
  EXPECT_EQ(status, absl::InternalError("disk"));
}

TEST_F(DeliveryOutboxTest, TheDeadlineIsTheMessagesOwn) {
  const auto outbox = MakeOutbox();
  server_.HoldDeliverMany(true);
  auto patient = Send(*outbox, "1");
  auto hasty = Send(*outbox, "2", "alice", 100, absl::Milliseconds(300));
  EXPECT_TRUE(absl::IsDeadlineExceeded(Wait(hasty)));
  server_.HoldDeliverMany(false);
  EXPECT_TRUE(Wait(patient).ok());
}

// A call on which a deadline passed is not trusted with more.
TEST_F(DeliveryOutboxTest, AServiceThatHangsIsAskedAgainInANewCall) {
  const auto outbox = MakeOutbox();
  server_.HoldDeliverMany(true);
  auto late = Send(*outbox, "1", "alice", 100, absl::Milliseconds(300));
  EXPECT_TRUE(absl::IsDeadlineExceeded(Wait(late)));
  server_.HoldDeliverMany(false);
  auto next = Send(*outbox, "2");
  EXPECT_TRUE(Wait(next).ok());
  EXPECT_EQ(server_.deliver_many_calls(), 2);
}

TEST_F(DeliveryOutboxTest, AServiceThatIsAwayIsToldByTheDeadline) {
  const auto outbox = MakeOutbox();
  auto before = Send(*outbox, "1");
  ASSERT_TRUE(Wait(before).ok());
  server_.Stop();
  const absl::Time begun = absl::Now();
  auto away = Send(*outbox, "2", "alice", 100, absl::Milliseconds(400));
  const absl::Status status = Wait(away);
  EXPECT_TRUE(absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) << status;
  EXPECT_LT(absl::Now() - begun, absl::Seconds(10));
}

TEST_F(DeliveryOutboxTest, ItsEndAnswersWhatIsOut) {
  auto outbox = MakeOutbox();
  server_.HoldDeliverMany(true);
  auto held = Send(*outbox, "1");
  ASSERT_TRUE(server_.AwaitDeliverManyRequest());
  outbox.reset();
  EXPECT_TRUE(absl::IsUnavailable(Wait(held)));
  server_.HoldDeliverMany(false);

  outbox = MakeOutbox();
  auto in_time = Send(*outbox, "2");
  outbox.reset();
  EXPECT_TRUE(Wait(in_time).ok());

  outbox = MakeOutbox();
  server_.Stop();
  auto repeated = Send(*outbox, "3");
  outbox.reset();
  EXPECT_TRUE(absl::IsUnavailable(Wait(repeated)));
}

TEST_F(DeliveryOutboxTest, AnOldCallIsFollowedByANewOne) {
  DeliveryOutbox outbox(NewStub(), /*longest_call=*/absl::ZeroDuration());
  server_.HoldDeliverMany(true);
  std::vector<std::future<Answer>> answers;
  for (int i = 0; i < 50; ++i) answers.push_back(Send(outbox, absl::StrCat(i)));
  ASSERT_TRUE(server_.AwaitDeliverManyRequest());
  server_.HoldDeliverMany(false);
  for (auto& answer : answers) EXPECT_TRUE(Wait(answer).ok());
  EXPECT_EQ(fakes_.delivery.delivered().size(), 50u);
  EXPECT_EQ(server_.deliver_many_calls(), 50);
}

TEST_F(DeliveryOutboxTest, ACallerWhoMayNotIsToldSo) {
  DeliveryOutbox outbox(
      store::v1::DeliveryService::NewStub(server_.ChannelOf(identity::kGatewaySmtpSubmission)));
  auto answer = Send(outbox, "1");
  EXPECT_TRUE(absl::IsPermissionDenied(Wait(answer)));
}

}  // namespace
}  // namespace postern::clients
