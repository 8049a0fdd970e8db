// MaildropService of the real process, over mutual TLS.
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/identity/access.h"
#include "store-svc/testing/breakable_hop.h"
#include "store-svc/testing/store_calls.h"
#include "store-svc/testing/store_process.h"

namespace postern::store {
namespace {

class MaildropTest : public testing::Test {
 protected:
  void SetUp() override {
    process_.Start();
    Connect();
  }

  void Connect() {
    mx_ = process_.Connect(identity::kGatewaySmtpMx);
    pop3_ = process_.Connect(identity::kGatewayPop3);
  }

  void Fill(int messages) {
    for (int i = 0; i < messages; ++i) {
      const std::string name = absl::StrCat("message ", delivered_++);
      ASSERT_TRUE(Deliver(*mx_, MakeHeader(name, {kAlice}),
                          absl::StrCat("Subject: ", name,
                                       "\r\n\r\none"
                                       "\r\ntwo\r\nthree\r\n"))
                      .ok());
    }
  }

  std::string Token(absl::string_view nonce = kNonce) {
    return process_.Sign(process_.MakeClaims(kAlice, nonce));
  }
  OpenMaildrop Session(absl::string_view nonce = kNonce) {
    return OpenMaildrop(pop3_, Token(nonce), std::string(nonce));
  }

  StoreProcess process_{"lease_grace_seconds: 2"};
  std::shared_ptr<grpc::Channel> mx_;
  std::shared_ptr<grpc::Channel> pop3_;
  int delivered_ = 0;
};

TEST_F(MaildropTest, OneSessionReadsAndDeletes) {
  Fill(3);
  OpenMaildrop session = Session();
  ASSERT_TRUE(session.Open().ok());
  ASSERT_EQ(session.entries().size(), 3u);
  EXPECT_NE(session.lease().fence(), 0u);
  const uint64_t second = session.entries()[1].first;
  const std::string header = PrefixOf(kAlice) + "Subject: message 1\r\n\r\n";
  EXPECT_EQ(*session.Retrieve(second), header + "one\r\ntwo\r\nthree\r\n");
  EXPECT_EQ(*session.Retrieve(second, 0), header);
  EXPECT_EQ(*session.Retrieve(second, 2), header + "one\r\ntwo\r\n");
  EXPECT_EQ(*session.Retrieve(second, 99), header + "one\r\ntwo\r\nthree\r\n");
  EXPECT_TRUE(absl::IsNotFound(session.Retrieve(99).status()));
  EXPECT_TRUE(session.Commit({}).ok());
  ASSERT_TRUE(session.Commit({second}).ok());
  EXPECT_TRUE(absl::IsNotFound(session.Retrieve(second).status()));
  ASSERT_TRUE(session.Close().ok());

  OpenMaildrop again = Session();
  ASSERT_TRUE(again.Open().ok());
  ASSERT_EQ(again.entries().size(), 2u);
  EXPECT_EQ(again.entries()[0], session.entries()[0]);
  EXPECT_EQ(again.entries()[1], session.entries()[2]);
  EXPECT_EQ(again.lease().uid_validity(), session.lease().uid_validity());
}

TEST_F(MaildropTest, TheOpenStreamCarriesSmallMessages) {
  Fill(4);
  const std::string large(300 << 10, 'x');
  ASSERT_TRUE(
      DeliverStream(*mx_, MakeHeader("large", {kAlice}), large, /*chunk_octets=*/100 << 10).ok());
  OpenMaildrop session = Session();
  ASSERT_TRUE(session.Open().ok());
  ASSERT_EQ(session.entries().size(), 5u);
  Fill(1);
  const auto fetch = [&](uint64_t uid, bool ahead, std::optional<uint32_t> body_lines = {}) {
    v1::OpenRequest::Fetch request;
    request.set_uid(uid);
    request.set_ahead(ahead);
    if (body_lines.has_value()) request.set_body_lines(*body_lines);
    session.StartFetch(request);
    return *session.AwaitFetched();
  };
  v1::OpenResponse::Fetched fetched = fetch(1, /*ahead=*/false);
  ASSERT_EQ(fetched.messages_size(), 1);
  EXPECT_EQ(fetched.messages(0).uid(), 1u);
  EXPECT_EQ(fetched.messages(0).octets(), *session.Retrieve(1));
  EXPECT_EQ(fetched.next_uid(), 2u);
  fetched = fetch(2, /*ahead=*/true);
  ASSERT_EQ(fetched.messages_size(), 3);
  EXPECT_EQ(fetched.messages(2).octets(), *session.Retrieve(4));
  EXPECT_EQ(fetched.next_uid(), 5u);
  EXPECT_EQ(fetch(5, /*ahead=*/true).code(), static_cast<int>(absl::StatusCode::kOutOfRange));
  EXPECT_EQ(session.Retrieve(5)->size(), PrefixOf(kAlice).size() + large.size());
  EXPECT_EQ(fetch(3, false, 1).messages(0).octets(), *session.Retrieve(3, 1));
  EXPECT_EQ(fetch(6, false).code(), static_cast<int>(absl::StatusCode::kNotFound))
      << "came after the listing";
  // The next may be on its way while the last is answered.
  v1::OpenRequest::Fetch request;
  request.set_uid(1);
  session.StartFetch(request);
  EXPECT_TRUE(session.AwaitFetched().ok());
  ASSERT_TRUE(session.Commit({1}).ok());
  EXPECT_EQ(fetch(1, true).code(), static_cast<int>(absl::StatusCode::kNotFound));
  EXPECT_TRUE(session.Close().ok());
}

TEST_F(MaildropTest, FetchesThatWaitAreBounded) {
  Fill(1);
  OpenMaildrop session = Session();
  ASSERT_TRUE(session.Open().ok());
  v1::OpenRequest::Fetch request;
  request.set_uid(1);
  for (int i = 0; i < 1000; ++i) session.StartFetch(request);
  absl::Status status;
  for (int i = 0; status.ok() && i < 1000; ++i) status = session.AwaitFetched().status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
}

// Predecessor: deletions committed on a dropped connection; no maildrop lock.
TEST_F(MaildropTest, WithoutCommitNothingIsDeletedAndTheLockIsExclusive) {
  Fill(2);
  OpenMaildrop first = Session("first");
  ASSERT_TRUE(first.Open().ok());
  OpenMaildrop second = Session("second");
  EXPECT_TRUE(absl::IsAborted(second.Open()));
  ASSERT_TRUE(first.Close().ok());
  ASSERT_TRUE(second.Open().ok());
  EXPECT_EQ(second.entries().size(), 2u);
}

TEST_F(MaildropTest, ACleanEndFreesBeforeTheClientHearsOfIt) {
  for (int i = 0; i < 300; ++i) {
    OpenMaildrop session = Session();
    ASSERT_TRUE(session.Open().ok()) << i;
    ASSERT_TRUE(session.Close().ok()) << i;
  }
}

TEST_F(MaildropTest, TokensThatAreNotGood) {
  Fill(1);
  const auto kinds = [&]() -> std::vector<std::pair<std::string, std::string>> {
    auto claims = process_.MakeClaims(kAlice, kNonce);
    std::vector<std::pair<std::string, std::string>> tokens;
    std::string altered = process_.Sign(claims);
    altered[altered.size() / 2] ^= 1;
    tokens.emplace_back("an altered bit", altered);
    tokens.emplace_back("empty", "");
    tokens.emplace_back("not a token", "nonsense");
    auto changed = claims;
    changed.set_purpose(auth::v1::PURPOSE_SUBMISSION);
    tokens.emplace_back("for submission", process_.Sign(changed));
    changed = claims;
    changed.set_gateway("gateway-smtp-submission");
    tokens.emplace_back("for another gateway", process_.Sign(changed));
    changed = claims;
    changed.set_session_nonce("another session.");
    tokens.emplace_back("for another session", process_.Sign(changed));
    changed = claims;
    changed.set_expires_at(changed.issued_at());
    tokens.emplace_back("expired", process_.Sign(changed));
    changed = claims;
    changed.set_mailbox_id("not hexadecimal");
    tokens.emplace_back("for no mailbox", process_.Sign(changed));
    tokens.emplace_back("by another key", StoreProcess().Sign(claims));
    return tokens;
  }();
  OpenMaildrop good = Session();
  ASSERT_TRUE(good.Open().ok());
  for (const auto& [what, token] : kinds) {
    EXPECT_TRUE(absl::IsUnauthenticated(OpenMaildrop(pop3_, token).Open())) << what;
    OpenMaildrop bad = OpenMaildrop(pop3_, token);
    for (const uint64_t fence : {good.lease().fence(), uint64_t{0}, uint64_t{12345}}) {
      bad.set_fence(fence);
      EXPECT_TRUE(absl::IsUnauthenticated(bad.Retrieve(1).status())) << what;
      EXPECT_TRUE(absl::IsUnauthenticated(bad.Commit({1}))) << what;
      EXPECT_FALSE(bad.Open(good.lease().fence()).ok()) << what << ", resuming";
    }
  }
  // A good token of another session of the same user does not open this one's lease.
  OpenMaildrop other = Session("other");
  other.set_fence(good.lease().fence());
  EXPECT_TRUE(absl::IsUnauthenticated(other.Commit({1})));
  other.set_fence(good.lease().fence() + 1);
  EXPECT_TRUE(absl::IsFailedPrecondition(other.Commit({1})));
  EXPECT_TRUE(good.Retrieve(1).ok());
}

TEST_F(MaildropTest, ALeaseOutlivesItsToken) {
  Fill(1);
  auto claims = process_.MakeClaims(kAlice, kNonce);
  claims.set_expires_at(absl::ToUnixSeconds(absl::Now()) + 2);
  OpenMaildrop session(pop3_, process_.Sign(claims));
  ASSERT_TRUE(session.Open().ok());
  while (absl::ToUnixSeconds(absl::Now()) <= claims.expires_at()) std::this_thread::yield();
  EXPECT_TRUE(session.Retrieve(1).ok());
  EXPECT_TRUE(session.Commit({1}).ok());
  ASSERT_TRUE(session.Close().ok());
  EXPECT_TRUE(absl::IsUnauthenticated(session.Open())) << "but a new lease needs a new token";
}

TEST_F(MaildropTest, ABrokenHopKeepsTheLeaseForItsFence) {
  Fill(2);
  for (int round = 0; round < 5; ++round) {
    BreakableHop hop(process_.port());
    const std::string token = Token();
    OpenMaildrop session(process_.Connect(identity::kGatewayPop3, hop.port()), token);
    ASSERT_TRUE(session.Open().ok());
    const uint64_t fence = session.lease().fence();
    hop.Break();
    EXPECT_FALSE(session.AwaitEnd().ok());

    OpenMaildrop other = Session("other");
    EXPECT_TRUE(absl::IsAborted(other.Open())) << round;
    EXPECT_FALSE(other.Open(fence).ok()) << "the fence alone is not enough";
    // The same token, byte for byte: the lease is its session's.
    OpenMaildrop resumed(pop3_, token);
    ASSERT_TRUE(resumed.Open(fence).ok());
    EXPECT_EQ(resumed.lease().fence(), fence);
    EXPECT_TRUE(resumed.Retrieve(1).ok());
    ASSERT_TRUE(resumed.Close().ok());
    ASSERT_TRUE(other.Open().ok());
    ASSERT_TRUE(other.Close().ok());
  }
}

TEST_F(MaildropTest, AfterTheGraceAStaleFenceCommitsNothing) {
  Fill(1);
  BreakableHop hop(process_.port());
  OpenMaildrop broken(process_.Connect(identity::kGatewayPop3, hop.port()), Token());
  ASSERT_TRUE(broken.Open().ok());
  hop.Break();
  OpenMaildrop other = Session("other");
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  absl::Status opened = other.Open();
  while (absl::IsAborted(opened) && absl::Now() < deadline) opened = other.Open();
  ASSERT_TRUE(opened.ok()) << opened;
  OpenMaildrop stale = Session();
  stale.set_fence(broken.lease().fence());
  EXPECT_TRUE(absl::IsFailedPrecondition(stale.Commit({1})));
  EXPECT_TRUE(absl::IsFailedPrecondition(stale.Retrieve(1).status()));
  EXPECT_TRUE(absl::IsAborted(stale.Open(broken.lease().fence())));
  EXPECT_TRUE(other.Retrieve(1).ok());
}

// A connection that is old is told to go; what runs on it ends when it ends.
TEST(MaildropAge, CutsNoSession) {
  StoreProcess process("rpc:\n  max_connection_age_seconds: 1\n");
  process.Start();
  const auto pop3 = process.Connect(identity::kGatewayPop3);
  OpenMaildrop session(pop3, process.Sign(process.MakeClaims(kAlice, kNonce)));
  ASSERT_TRUE(session.Open().ok());
  v1::OpenRequest::Fetch request;
  request.set_uid(1);
  // Three times its age, with a tenth of jitter.
  const absl::Time end = absl::Now() + absl::Milliseconds(3300);
  while (absl::Now() < end) {
    session.StartFetch(request);
    ASSERT_TRUE(session.AwaitFetched().ok());
  }
  EXPECT_TRUE(session.Close().ok());
}

TEST_F(MaildropTest, ARestartedStoreLetsTheSessionResume) {
  Fill(2);
  const std::string token = Token();
  OpenMaildrop session(pop3_, token);
  ASSERT_TRUE(session.Open().ok());
  const uint64_t fence = session.lease().fence();
  process_.Kill();
  EXPECT_FALSE(session.AwaitEnd().ok());
  process_.Start();
  Connect();
  OpenMaildrop resumed(pop3_, token);
  const absl::Status status = resumed.Open(fence);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(resumed.lease().fence(), fence);
  EXPECT_TRUE(absl::IsAborted(Session("other").Open()));
  ASSERT_TRUE(resumed.Commit({1}).ok());
  ASSERT_TRUE(resumed.Close().ok());
  OpenMaildrop next = Session("next");
  ASSERT_TRUE(next.Open().ok());
  EXPECT_GT(next.lease().fence(), fence) << "fences grow over restarts";
  EXPECT_EQ(next.entries().size(), 1u);
}

TEST_F(MaildropTest, ListsAHundredThousand) {
  Fill(1);
  mx_.reset();
  pop3_.reset();
  process_.Terminate();
  ASSERT_EQ(process_.Wait(), 0);
  constexpr int kMessages = 100000;
  process_.Execute(
      OnPostgresql()
          ? absl::StrCat("INSERT INTO message SELECT shard, mailbox_id, i * 2, sha256, octets, "
                         "prefix FROM generate_series(2, ",
                         kMessages, ") AS i, message WHERE uid = 1")
          : absl::StrCat(
                "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ",
                kMessages,
                ") INSERT INTO message (mailbox_id, uid, body_id, octets, prefix) SELECT "
                "mailbox_id, i * 2, body_id, octets, prefix FROM n, message WHERE uid = 1"));
  process_.Execute(absl::StrCat("UPDATE mailbox SET messages = ", kMessages,
                                ", uid_next = ", 2 * kMessages + 1));
  process_.Start();
  Connect();
  OpenMaildrop session = Session();
  const absl::Time start = absl::Now();
  ASSERT_TRUE(session.Open().ok());
  RecordProperty("open_milliseconds",
                 static_cast<int>(absl::ToInt64Milliseconds(absl::Now() - start)));
  ASSERT_EQ(session.entries().size(), static_cast<size_t>(kMessages));
  EXPECT_EQ(session.entries().back().first, 2u * kMessages);
  for (int i = 1; i < kMessages; ++i) {
    ASSERT_LT(session.entries()[i - 1].first, session.entries()[i].first);
  }
}

TEST_F(MaildropTest, OpenSaysOnceWhoItIs) {
  const auto stub = v1::MaildropService::NewStub(pop3_);
  grpc::ClientContext context;
  const auto stream = stub->Open(&context);
  v1::OpenRequest request;
  request.set_token(Token());
  request.set_session_nonce(kNonce);
  stream->Write(request);
  stream->Write(request);
  v1::OpenResponse response;
  while (stream->Read(&response)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(Session("other").Open().ok()) << "and its lease is free";
}

TEST_F(MaildropTest, DrainsWithSessionsOpen) {
  Fill(1);
  {
    OpenMaildrop session = Session();
    ASSERT_TRUE(session.Open().ok());
    process_.Terminate();
    EXPECT_TRUE(absl::IsUnavailable(session.AwaitEnd())) << "which a client resumes";
  }
  // A channel that nobody polls would not hear that it should go.
  mx_.reset();
  pop3_.reset();
  EXPECT_EQ(process_.Wait(), 0);
}

TEST_F(MaildropTest, NoTokenIsLogged) {
  const std::string token = Token();
  OpenMaildrop session(pop3_, token);
  ASSERT_TRUE(session.Open().ok());
  OpenMaildrop(pop3_, "a token that is no good").Open().IgnoreError();
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (process_.log().find("token refused") == std::string::npos && absl::Now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_NE(process_.log().find("token refused"), std::string::npos);
  EXPECT_EQ(process_.log().find("a token that is no good"), std::string::npos);
}

}  // namespace
}  // namespace postern::store
