// Two processes of store-svc on one PostgreSQL, over mutual TLS.
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/identity/access.h"
#include "store-svc/testing/store_calls.h"
#include "store-svc/testing/store_process.h"

namespace postern::store {
namespace {

// A maildrop's lock is taken over within this.
constexpr absl::Duration kTakeover = absl::Seconds(15);

class ReplicasTest : public testing::Test {
 protected:
  void SetUp() override {
    one_.Start();
    other_.Start();
  }

  OpenMaildrop Session(StoreProcess& at, absl::string_view nonce = kNonce) {
    return OpenMaildrop(at.Connect(identity::kGatewayPop3), at.Sign(at.MakeClaims(kAlice, nonce)),
                        std::string(nonce));
  }
  absl::Status DeliverTo(StoreProcess& at, absl::string_view id, absl::string_view body) {
    return Deliver(*at.Connect(identity::kGatewaySmtpMx), MakeHeader(id, {kAlice}), body).status();
  }
  // Until the maildrop is free.
  absl::Duration OpenWhenFree(OpenMaildrop& session) {
    const absl::Time start = absl::Now();
    absl::Status status = session.Open();
    while (absl::IsAborted(status) && absl::Now() < start + 2 * kTakeover) status = session.Open();
    EXPECT_TRUE(status.ok()) << status;
    return absl::Now() - start;
  }

  StoreProcess one_;
  StoreProcess other_{one_, ""};
  std::map<std::string, std::string> tokens_;
};

TEST_F(ReplicasTest, OneMaildropAndOneLock) {
  ASSERT_TRUE(DeliverTo(one_, "1", "first").ok());
  ASSERT_TRUE(DeliverTo(other_, "2", "second").ok());
  ASSERT_TRUE(DeliverTo(other_, "1", "first").ok()) << "a repetition, wherever it comes";
  OpenMaildrop session = Session(one_);
  ASSERT_TRUE(session.Open().ok());
  EXPECT_EQ(session.entries().size(), 2u);
  EXPECT_TRUE(absl::IsAborted(Session(other_, "second").Open()));
  ASSERT_TRUE(session.Commit({1}).ok());
  ASSERT_TRUE(session.Close().ok());
  OpenMaildrop next = Session(other_, "next");
  ASSERT_TRUE(next.Open().ok()) << "free at once, and everywhere";
  EXPECT_EQ(next.entries().size(), 1u);
}

TEST_F(ReplicasTest, ASessionGoesOnAtTheOtherReplica) {
  ASSERT_TRUE(DeliverTo(one_, "1", "first").ok());
  OpenMaildrop session = Session(one_);
  ASSERT_TRUE(session.Open().ok());
  const uint64_t fence = session.lease().fence();
  one_.Kill();
  EXPECT_FALSE(session.AwaitEnd().ok());
  OpenMaildrop resumed = Session(other_);
  ASSERT_TRUE(resumed.Open(fence).ok());
  EXPECT_EQ(*resumed.Retrieve(1), absl::StrCat(PrefixOf(kAlice), "first"));
  EXPECT_TRUE(absl::IsAborted(Session(other_, "second").Open()));
  ASSERT_TRUE(resumed.Commit({1}).ok());
  ASSERT_TRUE(resumed.Close().ok());
}

TEST_F(ReplicasTest, AKilledReplicasMaildropsAreTakenOver) {
  OpenMaildrop session = Session(one_);
  ASSERT_TRUE(session.Open().ok());
  one_.Kill();
  OpenMaildrop next = Session(other_, "next");
  EXPECT_LT(OpenWhenFree(next), kTakeover);
}

TEST_F(ReplicasTest, AStoppedReplicaDeletesNothingWhenItGoesOn) {
  ASSERT_TRUE(DeliverTo(one_, "1", "first").ok());
  OpenMaildrop session = Session(one_);
  ASSERT_TRUE(session.Open().ok());
  one_.Stop();
  OpenMaildrop next = Session(other_, "next");
  EXPECT_LT(OpenWhenFree(next), kTakeover);
  one_.Continue();
  // Over a new connection: the old one was left.
  OpenMaildrop late = Session(one_);
  late.set_fence(session.lease().fence());
  const absl::Status deleted = late.Commit({1});
  EXPECT_TRUE(absl::IsFailedPrecondition(deleted)) << deleted;
  ASSERT_TRUE(next.Commit({}).ok());
  ASSERT_TRUE(next.Close().ok());
  OpenMaildrop last = Session(one_, "last");
  ASSERT_TRUE(last.Open().ok());
  EXPECT_EQ(last.entries().size(), 1u);
}

TEST_F(ReplicasTest, KilledInTurnTheyLoseAndDoubleNothing) {
  constexpr int kClients = 4;
  absl::Mutex mutex;
  std::map<std::string, std::string> delivered;
  bool stop = false;
  std::vector<std::thread> clients;
  // A replica's port changes with every start.
  std::shared_ptr<grpc::Channel> channels[] = {one_.Connect(identity::kGatewaySmtpMx),
                                               other_.Connect(identity::kGatewaySmtpMx)};
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&, i] {
      for (int n = 0;; ++n) {
        const std::string id = absl::StrCat(i, "/", n);
        const std::string body = absl::StrCat(id, "\r\n", std::string(2000, 'x'));
        // The same delivery, wherever it succeeds.
        for (int attempt = 0;; ++attempt) {
          std::shared_ptr<grpc::Channel> channel;
          {
            absl::MutexLock lock(&mutex);
            if (stop) return;
            channel = channels[attempt % 2];
          }
          const absl::Status status = Deliver(*channel, MakeHeader(id, {kAlice}), body).status();
          if (status.ok()) break;
          ASSERT_TRUE(absl::IsUnavailable(status)) << status;
        }
        absl::MutexLock lock(&mutex);
        delivered[body] = id;
      }
    });
  }
  const auto count = [&] {
    absl::MutexLock lock(&mutex);
    return delivered.size();
  };
  for (int round = 0; round < 6; ++round) {
    const size_t before = count();
    while (count() < before + 40 && !testing::Test::HasFailure()) std::this_thread::yield();
    StoreProcess& killed = round % 2 == 0 ? one_ : other_;
    killed.Kill();
    killed.Start();
    const auto channel = killed.Connect(identity::kGatewaySmtpMx);
    absl::MutexLock lock(&mutex);
    channels[round % 2] = channel;
  }
  {
    absl::MutexLock lock(&mutex);
    stop = true;
  }
  for (std::thread& client : clients) client.join();
  OpenMaildrop session = Session(one_);
  ASSERT_TRUE(session.Open().ok());
  std::map<std::string, int> found;
  for (const auto& [uid, size] : session.entries()) {
    ++found[session.Retrieve(uid)->substr(PrefixOf(kAlice).size())];
  }
  for (const auto& [body, id] : delivered) EXPECT_EQ(found[body], 1) << id;
  // What was on its way when the clients stopped may be there as well, once.
  for (const auto& [body, times] : found) EXPECT_EQ(times, 1);
  EXPECT_LE(found.size(), delivered.size() + kClients);
}

}  // namespace
}  // namespace postern::store
