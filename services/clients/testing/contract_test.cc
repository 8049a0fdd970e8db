// What every implementation of the client interfaces must do: the same tests on the fakes, and on
// the gRPC clients in front of a server that answers with the fakes.
#include <cstring>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/body/piece.h"
#include "services/clients/auth_client.h"
#include "services/clients/relay_client.h"
#include "services/clients/store_client.h"
#include "services/clients/testing/contract_server.h"
#include "services/identity/access.h"
#include "services/identity/test_pki.h"
#include "services/rpc/channel.h"

namespace postern::clients {
namespace {

using auth::v1::AuthenticateRequest;
using auth::v1::AuthenticateResponse;

const std::string kNonce(16, 'n');

rpc::CallContext Call(absl::Duration time = absl::Seconds(20)) {
  return {rpc::TraceContext::New(), absl::Now() + time};
}

// Runs a call to its end.
template <typename Result, typename Start>
Result Wait(Start start) {
  auto promise = std::make_shared<std::promise<Result>>();
  std::future<Result> result = promise->get_future();
  start([promise](Result answer) { promise->set_value(std::move(answer)); });
  if (result.wait_for(std::chrono::seconds(40)) != std::future_status::ready) {
    return absl::InternalError("never answered");
  }
  return result.get();
}

AuthenticateRequest StartOf(const std::string& mechanism, std::optional<std::string> response) {
  AuthenticateRequest request;
  request.mutable_start()->set_mechanism(mechanism);
  if (response.has_value()) request.mutable_start()->set_initial_response(*response);
  request.mutable_start()->set_purpose(auth::v1::PURPOSE_MAILDROP);
  request.mutable_start()->set_session_nonce(kNonce);
  return request;
}

AuthenticateRequest ResponseOf(const std::string& response) {
  AuthenticateRequest request;
  request.set_response(response);
  return request;
}

absl::StatusOr<AuthenticateResponse> Step(SaslExchange& exchange, AuthenticateRequest request) {
  return Wait<absl::StatusOr<AuthenticateResponse>>(
      [&](auto done) { exchange.Step(std::move(request), std::move(done)); });
}

absl::StatusOr<OpenedMaildrop> Open(MaildropClient& client, const std::string& token) {
  return Wait<absl::StatusOr<OpenedMaildrop>>(
      [&](auto done) { client.Open(Call(), token, kNonce, std::move(done)); });
}

absl::StatusOr<std::string> Fetch(Maildrop& maildrop, uint64_t uid,
                                  std::optional<uint32_t> body_lines = std::nullopt) {
  const auto reader = maildrop.Retrieve(Call(), uid, body_lines);
  std::string message;
  while (true) {
    auto piece = Wait<absl::StatusOr<std::optional<std::string>>>(
        [&](auto done) { reader->Read(std::move(done)); });
    if (!piece.ok()) return piece.status();
    if (!piece->has_value()) return message;
    message += **piece;
  }
}

absl::Status Commit(Maildrop& maildrop, const std::vector<uint64_t>& uids) {
  return Wait<absl::Status>([&](auto done) { maildrop.Commit(Call(), uids, std::move(done)); });
}

store::v1::DeliverRequest Delivery(const std::string& id, const std::string& mailbox,
                                   const std::string& body) {
  store::v1::DeliverRequest request;
  request.mutable_header()->set_delivery_id(id);
  request.mutable_header()->set_envelope_sender("sender@example.test");
  request.mutable_header()->add_recipients()->set_mailbox_id(mailbox);
  request.set_body(body);
  return request;
}

absl::StatusOr<store::v1::DeliverResponse> Deliver(DeliveryClient& client,
                                                   store::v1::DeliverRequest request,
                                                   absl::Duration time = absl::Seconds(20)) {
  return Wait<absl::StatusOr<store::v1::DeliverResponse>>(
      [&](auto done) { client.Deliver(Call(time), std::move(request), std::move(done)); });
}

relay::v1::EnqueueRequest Submission(const std::string& id, const std::string& token) {
  relay::v1::EnqueueRequest request;
  request.mutable_header()->set_token(token);
  request.mutable_header()->set_session_nonce(kNonce);
  request.mutable_header()->set_delivery_id(id);
  request.mutable_header()->add_recipients("bob@elsewhere.test");
  request.set_body("Subject: x\r\n\r\nbody\r\n");
  return request;
}

absl::StatusOr<relay::v1::EnqueueResponse> Enqueue(SubmissionClient& client,
                                                   relay::v1::EnqueueRequest request) {
  return Wait<absl::StatusOr<relay::v1::EnqueueResponse>>(
      [&](auto done) { client.Enqueue(Call(), std::move(request), std::move(done)); });
}

template <typename Response>
absl::Status Write(BodyStream<Response>& stream, std::string piece) {
  return Wait<absl::Status>([&](auto done) { stream.Write(std::move(piece), std::move(done)); });
}

template <typename Response>
absl::StatusOr<Response> Finish(BodyStream<Response>& stream) {
  return Wait<absl::StatusOr<Response>>([&](auto done) { stream.Finish(std::move(done)); });
}

absl::StatusOr<relay::v1::CheckRecipientResponse> CheckRecipient(PolicyClient& client,
                                                                 const std::string& recipient,
                                                                 const std::string& token = "",
                                                                 const std::string& sender = "") {
  relay::v1::CheckRecipientRequest request;
  request.set_recipient(recipient);
  request.set_token(token);
  request.set_sender(sender);
  return Wait<absl::StatusOr<relay::v1::CheckRecipientResponse>>(
      [&](auto done) { client.CheckRecipient(Call(), request, std::move(done)); });
}

absl::StatusOr<relay::v1::CheckConnectionResponse> CheckConnection(PolicyClient& client,
                                                                   const std::string& address) {
  relay::v1::CheckConnectionRequest request;
  request.set_client_address(address);
  return Wait<absl::StatusOr<relay::v1::CheckConnectionResponse>>(
      [&](auto done) { client.CheckConnection(Call(), request, std::move(done)); });
}

enum class Clients { kFakes, kGrpc, kGrpcWithOpenCall };

// The clients under test, in front of `fakes`.
class Fixture {
 public:
  explicit Fixture(Clients clients) {
    if (clients == Clients::kFakes) return;
    pki_ = std::make_unique<identity::TestPki>(
        absl::StrCat(testing::TempDir(), "/", absl::ToUnixNanos(absl::Now())));
    server_ = std::make_unique<ContractServer>(&fakes, pki_.get());
    const auto pop3 = server_->ChannelOf(identity::kGatewayPop3);
    const auto mx = server_->ChannelOf(identity::kGatewaySmtpMx);
    const auto sender = server_->ChannelOf(identity::kGatewaySmtpSubmission);
    authentication_ = MakeAuthenticationClient(pop3);
    directory_ = MakeDirectoryClient(server_->ChannelOf(identity::kRelaySvc));
    delivery_ =
        MakeDeliveryClient(mx, clients == Clients::kGrpcWithOpenCall ? SmallBodies::kOpenCall
                                                                     : SmallBodies::kCallEach);
    maildrops_ = MakeMaildropClient(pop3);
    policy_ = MakePolicyClient(mx);
    submission_ = MakeSubmissionClient(sender);
    forwarding_ = MakeForwardingClient(mx);
  }

  AuthenticationClient& authentication() {
    return authentication_ ? *authentication_ : fakes.authentication;
  }
  DirectoryClient& directory() { return directory_ ? *directory_ : fakes.directory; }
  DeliveryClient& delivery() { return delivery_ ? *delivery_ : fakes.delivery; }
  MaildropClient& maildrops() { return maildrops_ ? *maildrops_ : fakes.maildrops; }
  PolicyClient& policy() { return policy_ ? *policy_ : fakes.policy; }
  SubmissionClient& submission() { return submission_ ? *submission_ : fakes.submission; }
  SubmissionClient& forwarding() { return forwarding_ ? *forwarding_ : fakes.forwarding; }
  // Null on the fakes.
  ContractServer* server() { return server_.get(); }

  Fakes fakes;

 private:
  std::unique_ptr<identity::TestPki> pki_;
  std::unique_ptr<ContractServer> server_;
  std::unique_ptr<AuthenticationClient> authentication_;
  std::unique_ptr<DirectoryClient> directory_;
  std::unique_ptr<DeliveryClient> delivery_;
  std::unique_ptr<MaildropClient> maildrops_;
  std::unique_ptr<PolicyClient> policy_;
  std::unique_ptr<SubmissionClient> submission_;
  std::unique_ptr<SubmissionClient> forwarding_;
};

class ContractTest : public testing::TestWithParam<Clients>, public Fixture {
 protected:
  ContractTest() : Fixture(GetParam()) {
    AuthenticateResponse::Success success;
    success.set_token("token");
    success.set_address("alice@example.test");
    fakes.authentication.AddAccount("alice", "secret", success);
    fakes.delivery.AddMailbox("alice");
    fakes.maildrops.AddMaildrop(
        "token", 7,
        {{3, "Subject: a\r\n\r\n1\r\n2\r\n"}, {5, std::string(1000, 'x')}, {1ull << 40, ""}});
    fakes.submission.AddToken("token");
  }
};

std::string NameOf(const testing::TestParamInfo<Clients>& info) {
  constexpr const char* kNames[] = {"Fake", "Grpc", "GrpcWithOpenCall"};
  return kNames[static_cast<int>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(Clients, ContractTest,
                         testing::Values(Clients::kFakes, Clients::kGrpc,
                                         Clients::kGrpcWithOpenCall),
                         NameOf);

TEST_P(ContractTest, AuthenticatesByPlain) {
  const auto exchange = authentication().Authenticate(Call());
  const auto response = Step(*exchange, StartOf("PLAIN", std::string("\0alice\0secret", 13)));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->success().token(), "token");
  EXPECT_EQ(response->success().address(), "alice@example.test");
  ASSERT_EQ(fakes.authentication.starts().size(), 1u);
  EXPECT_EQ(fakes.authentication.starts()[0].session_nonce(), kNonce);
}

TEST_P(ContractTest, AuthenticatesByLoginStepByStep) {
  const auto exchange = authentication().Authenticate(Call());
  auto response = Step(*exchange, StartOf("LOGIN", std::nullopt));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->challenge(), "Username:");
  response = Step(*exchange, ResponseOf("alice"));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->challenge(), "Password:");
  response = Step(*exchange, ResponseOf("secret"));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_TRUE(response->has_success());
}

TEST_P(ContractTest, TellsWhyALoginFailed) {
  const struct {
    AuthenticateRequest request;
    AuthenticateResponse::Reason reason;
  } kCases[] = {
      {StartOf("PLAIN", std::string("\0alice\0wrong", 12)),
       AuthenticateResponse::REASON_INVALID_CREDENTIALS},
      {StartOf("PLAIN", std::string("\0nobody\0secret", 14)),
       AuthenticateResponse::REASON_INVALID_CREDENTIALS},
      {StartOf("PLAIN", "nonsense"), AuthenticateResponse::REASON_MALFORMED},
      {StartOf("GSSAPI", std::nullopt), AuthenticateResponse::REASON_UNKNOWN_MECHANISM},
  };
  for (const auto& c : kCases) {
    const auto exchange = authentication().Authenticate(Call());
    const auto response = Step(*exchange, c.request);
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_EQ(response->failure().reason(), c.reason);
  }
}

TEST_P(ContractTest, CancelsAnExchange) {
  const auto exchange = authentication().Authenticate(Call());
  ASSERT_TRUE(Step(*exchange, StartOf("LOGIN", std::nullopt)).ok());
  AuthenticateRequest cancel;
  cancel.mutable_cancel();
  const auto response = Step(*exchange, cancel);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->failure().reason(), AuthenticateResponse::REASON_CANCELLED);
}

TEST_P(ContractTest, AnExchangeMayBeDroppedAtAnyStep) {
  { const auto exchange = authentication().Authenticate(Call()); }
  {
    const auto exchange = authentication().Authenticate(Call());
    ASSERT_TRUE(Step(*exchange, StartOf("LOGIN", std::nullopt)).ok());
  }
}

TEST_P(ContractTest, AuthenticationFailsWithTheServicesStatus) {
  fakes.authentication.FailNext(absl::ResourceExhaustedError("busy"));
  const auto exchange = authentication().Authenticate(Call());
  const auto response = Step(*exchange, StartOf("PLAIN", std::string("\0alice\0secret", 13)));
  EXPECT_EQ(response.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_P(ContractTest, ResolvesRecipients) {
  auth::v1::ResolveRecipientResponse known;
  known.set_outcome(auth::v1::ResolveRecipientResponse::OUTCOME_LOCAL);
  known.add_mailboxes()->set_mailbox_id("m");
  fakes.directory.SetRecipient("alice@example.test", known);
  auth::v1::ResolveRecipientRequest request;
  request.set_address("alice@example.test");
  const auto response = Wait<absl::StatusOr<auth::v1::ResolveRecipientResponse>>(
      [&](auto done) { directory().ResolveRecipient(Call(), request, std::move(done)); });
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->SerializeAsString(), known.SerializeAsString());
}

TEST_P(ContractTest, AsksWhetherItMaySendAs) {
  fakes.directory.LetSendAs("account", "alice@example.test");
  auth::v1::MaySendAsRequest request;
  request.set_account_id("account");
  request.add_addresses("alice@example.test");
  const auto ask = [&](auto done) { directory().MaySendAs(Call(), request, std::move(done)); };
  auto response = Wait<absl::StatusOr<auth::v1::MaySendAsResponse>>(ask);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_TRUE(response->allowed());
  request.add_addresses("bob@example.test");
  response = Wait<absl::StatusOr<auth::v1::MaySendAsResponse>>(ask);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_FALSE(response->allowed());
}

TEST_P(ContractTest, DeliversOncePerDeliveryId) {
  const std::string id(16, '1');
  auto response = Deliver(delivery(), Delivery(id, "alice", "body\r\n"));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_FALSE(response->repeated_delivery());
  response = Deliver(delivery(), Delivery(id, "alice", "body\r\n"));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_TRUE(response->repeated_delivery());
  response = Deliver(delivery(), Delivery(id, "alice", "other\r\n"));
  EXPECT_EQ(response.status().code(), absl::StatusCode::kAlreadyExists);
  ASSERT_EQ(fakes.delivery.delivered().size(), 1u);
  EXPECT_EQ(fakes.delivery.delivered()[0].body(), "body\r\n");
}

TEST_P(ContractTest, TheLargestBodyOfOneRequest) {
  const std::string body(kMaxPieceOctets, 'b');
  const auto response = Deliver(delivery(), Delivery(std::string(16, '1'), "alice", body));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(fakes.delivery.delivered()[0].body(), body);
}

TEST_P(ContractTest, FullMailboxes) {
  fakes.delivery.SetFull("alice", true);
  EXPECT_EQ(Deliver(delivery(), Delivery(std::string(16, '1'), "alice", "b")).status().code(),
            absl::StatusCode::kResourceExhausted);
  store::v1::CheckQuotaRequest request;
  request.add_mailbox_ids("alice");
  const auto response = Wait<absl::StatusOr<store::v1::CheckQuotaResponse>>(
      [&](auto done) { delivery().CheckQuota(Call(), request, std::move(done)); });
  ASSERT_TRUE(response.ok()) << response.status();
  ASSERT_EQ(response->full_mailbox_ids_size(), 1);
  EXPECT_EQ(response->full_mailbox_ids(0), "alice");
}

TEST_P(ContractTest, DeliversALargeBodyInPieces) {
  const auto request = Delivery(std::string(16, '2'), "alice", "");
  const auto stream = delivery().DeliverStream(Call(), request.header());
  std::string body;
  for (int i = 0; i < 5; ++i) {
    std::string piece(kMaxPieceOctets, static_cast<char>('a' + i));
    body += piece;
    ASSERT_TRUE(Write(*stream, std::move(piece)).ok());
  }
  const auto response = Finish(*stream);
  ASSERT_TRUE(response.ok()) << response.status();
  ASSERT_EQ(fakes.delivery.delivered().size(), 1u);
  EXPECT_TRUE(fakes.delivery.delivered()[0].body() == body);
  EXPECT_EQ(fakes.delivery.delivered()[0].header().SerializeAsString(),
            request.header().SerializeAsString());
}

TEST_P(ContractTest, AnUploadThatFailsAtItsEnd) {
  const auto stream =
      delivery().DeliverStream(Call(), Delivery(std::string(16, '2'), "alice", "").header());
  fakes.delivery.FailNext(absl::ResourceExhaustedError("full"));
  ASSERT_TRUE(Write(*stream, "body").ok());
  EXPECT_EQ(Finish(*stream).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_P(ContractTest, AnAbandonedUploadCommitsNothing) {
  {
    const auto stream =
        delivery().DeliverStream(Call(), Delivery(std::string(16, '2'), "alice", "").header());
    ASSERT_TRUE(Write(*stream, "half a message").ok());
  }
  if (server() != nullptr) {
    EXPECT_TRUE(server()->WaitForAbandonedUpload());
  }
  EXPECT_TRUE(fakes.delivery.delivered().empty());
}

TEST_P(ContractTest, OpensListsAndRetrieves) {
  auto opened = Open(maildrops(), "token");
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->listing.uid_validity, 7u);
  ASSERT_EQ(opened->listing.entries.size(), 3u);
  EXPECT_EQ(opened->listing.entries[0].uid, 3u);
  EXPECT_EQ(opened->listing.entries[0].octets, 20u);
  EXPECT_EQ(opened->listing.entries[2].uid, 1ull << 40);
  fakes.maildrops.SetPieceOctets(64);
  EXPECT_EQ(*Fetch(*opened->maildrop, 5), std::string(1000, 'x'));
  EXPECT_EQ(*Fetch(*opened->maildrop, 3), "Subject: a\r\n\r\n1\r\n2\r\n");
  EXPECT_EQ(*Fetch(*opened->maildrop, 3, 1), "Subject: a\r\n\r\n1\r\n");
  EXPECT_EQ(*Fetch(*opened->maildrop, 1ull << 40), "");
  EXPECT_EQ(Fetch(*opened->maildrop, 4).status().code(), absl::StatusCode::kNotFound);
  // The maildrop survives what it couldn't give.
  EXPECT_TRUE(Fetch(*opened->maildrop, 5).ok());
}

TEST_P(ContractTest, AnEmptyMaildrop) {
  fakes.maildrops.AddMaildrop("empty", 1, {});
  const auto opened = Open(maildrops(), "empty");
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_TRUE(opened->listing.entries.empty());
}

TEST_P(ContractTest, OneSessionAtATime) {
  auto first = Open(maildrops(), "token");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(Open(maildrops(), "token").status().code(), absl::StatusCode::kAborted);
  // A commit without deletions frees it, and it is free when it is answered.
  EXPECT_TRUE(Commit(*first->maildrop, {}).ok());
  auto second = Open(maildrops(), "token");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(Commit(*second->maildrop, {5}).ok());
  auto third = Open(maildrops(), "token");
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_EQ(third->listing.entries.size(), 2u);
}

TEST_P(ContractTest, ABadTokenOpensNothing) {
  EXPECT_EQ(Open(maildrops(), "bad").status().code(), absl::StatusCode::kUnauthenticated);
}

TEST_P(ContractTest, WhoGoesAwayDeletesNothingAndFreesTheMaildrop) {
  {
    const auto opened = Open(maildrops(), "token");
    ASSERT_TRUE(opened.ok()) << opened.status();
  }
  EXPECT_TRUE(fakes.maildrops.WaitUntilClosed("token"));
  EXPECT_EQ(fakes.maildrops.Uids("token").size(), 3u);
}

TEST_P(ContractTest, AMessageMayBeDroppedHalfway) {
  fakes.maildrops.SetPieceOctets(10);
  auto opened = Open(maildrops(), "token");
  ASSERT_TRUE(opened.ok()) << opened.status();
  {
    const auto reader = opened->maildrop->Retrieve(Call(), 5, std::nullopt);
    const auto piece = Wait<absl::StatusOr<std::optional<std::string>>>(
        [&](auto done) { reader->Read(std::move(done)); });
    ASSERT_TRUE(piece.ok()) << piece.status();
  }
  EXPECT_EQ(Fetch(*opened->maildrop, 5)->size(), 1000u);
}

TEST_P(ContractTest, ACommitThatFailsDeletesNothing) {
  auto opened = Open(maildrops(), "token");
  ASSERT_TRUE(opened.ok()) << opened.status();
  fakes.maildrops.FailNextCommit(absl::InternalError("disk"));
  EXPECT_EQ(Commit(*opened->maildrop, {3}).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(fakes.maildrops.Uids("token").size(), 3u);
}

TEST_P(ContractTest, ChecksSenders) {
  fakes.policy.SetSender("alice@example.test", relay::v1::REFUSAL_MAY_NOT_SEND_AS);
  relay::v1::CheckSenderRequest request;
  request.set_sender("alice@example.test");
  request.set_token("token");
  const auto response = Wait<absl::StatusOr<relay::v1::CheckSenderResponse>>(
      [&](auto done) { policy().CheckSender(Call(), request, std::move(done)); });
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->refusal(), relay::v1::REFUSAL_MAY_NOT_SEND_AS);
}

TEST_P(ContractTest, ChecksConnectionsAndRecipients) {
  fakes.policy.SetConnection("192.0.2.1", {});
  relay::v1::CheckRecipientResponse known;
  known.add_mailboxes()->set_mailbox_id("m");
  fakes.policy.SetRecipient("alice@example.test", known);
  const auto connection = CheckConnection(policy(), "192.0.2.1");
  ASSERT_TRUE(connection.ok()) << connection.status();
  EXPECT_EQ(connection->refusal(), relay::v1::REFUSAL_UNSPECIFIED);
  const auto recipient = CheckRecipient(policy(), "alice@example.test");
  ASSERT_TRUE(recipient.ok()) << recipient.status();
  EXPECT_EQ(recipient->SerializeAsString(), known.SerializeAsString());
}

TEST_P(ContractTest, EnqueuesOncePerDeliveryId) {
  const std::string id(16, '1');
  const auto first = Enqueue(submission(), Submission(id, "token"));
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_FALSE(first->queue_id().empty());
  const auto second = Enqueue(submission(), Submission(id, "token"));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(second->repeated_delivery());
  EXPECT_EQ(second->queue_id(), first->queue_id());
  EXPECT_EQ(Enqueue(submission(), Submission(id, "bad")).status().code(),
            absl::StatusCode::kUnauthenticated);
}

// By a door of its own, that needs no token.
TEST_P(ContractTest, ForwardsWholeAndInPieces) {
  fakes.forwarding.AddToken("");
  EXPECT_TRUE(Enqueue(forwarding(), Submission(std::string(16, '1'), "")).ok());
  const auto stream =
      forwarding().EnqueueStream(Call(), Submission(std::string(16, '2'), "").header());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Write(*stream, std::string(kMaxPieceOctets, 'b')).ok());
  }
  ASSERT_TRUE(Finish(*stream).ok());
  ASSERT_EQ(fakes.forwarding.enqueued().size(), 2u);
  EXPECT_EQ(fakes.forwarding.enqueued()[1].body().size(), 3 * kMaxPieceOctets);
  EXPECT_TRUE(fakes.submission.enqueued().empty());
}

TEST_P(ContractTest, EnqueuesALargeBodyInPieces) {
  const auto stream =
      submission().EnqueueStream(Call(), Submission(std::string(16, '2'), "token").header());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Write(*stream, std::string(kMaxPieceOctets, 'b')).ok());
  }
  ASSERT_TRUE(Finish(*stream).ok());
  ASSERT_EQ(fakes.submission.enqueued().size(), 1u);
  EXPECT_EQ(fakes.submission.enqueued()[0].body().size(), 3 * kMaxPieceOctets);
}

// What only calls over a network can show.
class GrpcClientTest : public testing::Test, public Fixture {
 protected:
  GrpcClientTest() : Fixture(Clients::kGrpc) {
    fakes.delivery.AddMailbox("alice");
    fakes.maildrops.AddMaildrop("token", 7, {{3, "three"}, {5, "five"}});
    fakes.submission.AddToken("token");
  }
};

TEST_F(GrpcClientTest, RepeatsWhatIsIdempotent) {
  fakes.delivery.FailNext(absl::UnavailableError("restarting"));
  EXPECT_TRUE(Deliver(delivery(), Delivery(std::string(16, '1'), "alice", "b")).ok());
  EXPECT_EQ(fakes.delivery.delivered().size(), 1u);
  fakes.submission.FailNext(absl::UnavailableError("restarting"));
  EXPECT_TRUE(Enqueue(submission(), Submission(std::string(16, '1'), "token")).ok());
  fakes.policy.SetRecipient("a@x", {});
  fakes.policy.FailNext(absl::UnavailableError("restarting"));
  EXPECT_TRUE(CheckRecipient(policy(), "a@x").ok());
  fakes.directory.SetRecipient("a@x", {});
  fakes.directory.FailNext(absl::UnavailableError("restarting"));
  auth::v1::ResolveRecipientRequest request;
  request.set_address("a@x");
  EXPECT_TRUE(Wait<absl::StatusOr<auth::v1::ResolveRecipientResponse>>([&](auto done) {
                directory().ResolveRecipient(Call(), request, std::move(done));
              }).ok());
}

TEST_F(GrpcClientTest, OtherErrorsAreAnswers) {
  fakes.delivery.FailNext(absl::InternalError("disk"));
  EXPECT_EQ(Deliver(delivery(), Delivery(std::string(16, '1'), "alice", "b")).status().code(),
            absl::StatusCode::kInternal);
  EXPECT_TRUE(fakes.delivery.delivered().empty());
}

// A person waits: the deadline of a commit is long, and nobody is there to commit.
TEST_F(GrpcClientTest, AServerThatIsAwayIsToldWhenPatienceEnds) {
  identity::TestPki pki(absl::StrCat(testing::TempDir(), "/patience"));
  config::v1::RpcTarget target;
  // Discard: nobody listens there.
  target.set_target("127.0.0.1:9");
  for (const SmallBodies small : {SmallBodies::kCallEach, SmallBodies::kOpenCall}) {
    const auto client = MakeDeliveryClient(
        *rpc::ConnectTo(target, pki.IssueIdentity("gateway-smtp-mx"), identity::kStoreSvc), small);
    rpc::CallContext call = Call(absl::Minutes(10));
    call.patience = absl::Milliseconds(300);
    const auto response = Wait<absl::StatusOr<store::v1::DeliverResponse>>([&](auto done) {
      client->Deliver(call, Delivery(std::string(16, '1'), "alice", "b"), std::move(done));
    });
    EXPECT_TRUE(absl::IsUnavailable(response.status())) << response.status();
  }
}

TEST_F(GrpcClientTest, AServerThatIsAwayIsToldByTheDeadline) {
  const auto client = [] {
    identity::TestPki pki(absl::StrCat(testing::TempDir(), "/away"));
    config::v1::RpcTarget target;
    // Discard: nobody listens there.
    target.set_target("127.0.0.1:9");
    return MakeDeliveryClient(
        *rpc::ConnectTo(target, pki.IssueIdentity("gateway-smtp-mx"), identity::kStoreSvc),
        SmallBodies::kCallEach);
  }();
  const absl::Time begun = absl::Now();
  const auto response =
      Deliver(*client, Delivery(std::string(16, '1'), "alice", "b"), absl::Milliseconds(400));
  EXPECT_TRUE(absl::IsUnavailable(response.status()) || absl::IsDeadlineExceeded(response.status()))
      << response.status();
  EXPECT_LT(absl::Now() - begun, absl::Seconds(10));
}

TEST_F(GrpcClientTest, PolicyAnswersAreRemembered) {
  relay::v1::CheckConnectionResponse accepted;
  accepted.set_ttl_seconds(60);
  fakes.policy.SetConnection("192.0.2.1", accepted);
  ASSERT_TRUE(CheckConnection(policy(), "192.0.2.1").ok());
  // Another client of the same /24: the fake knows nothing of it, and isn't asked.
  ASSERT_TRUE(CheckConnection(policy(), "192.0.2.200").ok());
  EXPECT_EQ(fakes.policy.connections_asked(), 1);

  relay::v1::CheckRecipientResponse known;
  known.set_ttl_seconds(60);
  known.add_mailboxes()->set_mailbox_id("m");
  fakes.policy.SetRecipient("a@x", known);
  ASSERT_TRUE(CheckRecipient(policy(), "a@x").ok());
  EXPECT_EQ(CheckRecipient(policy(), "a@x")->mailboxes(0).mailbox_id(), "m");
  EXPECT_EQ(fakes.policy.recipients_asked().size(), 1u);
  // With a token the answer depends on whose it is.
  ASSERT_TRUE(CheckRecipient(policy(), "a@x", "token").ok());
  ASSERT_TRUE(CheckRecipient(policy(), "a@x", "token").ok());
  EXPECT_EQ(fakes.policy.recipients_asked().size(), 3u);
  // Some addresses are known to the null sender alone.
  ASSERT_TRUE(CheckRecipient(policy(), "a@x", "", "s@y").ok());
  ASSERT_TRUE(CheckRecipient(policy(), "a@x", "", "t@y").ok());
  EXPECT_EQ(fakes.policy.recipients_asked().size(), 4u);

  relay::v1::CheckRecipientResponse refused;
  refused.set_refusal(relay::v1::REFUSAL_UNKNOWN_USER);
  refused.set_ttl_seconds(60);
  fakes.policy.SetRecipient("b@x", refused);
  ASSERT_TRUE(CheckRecipient(policy(), "b@x").ok());
  ASSERT_TRUE(CheckRecipient(policy(), "b@x").ok());
  EXPECT_EQ(fakes.policy.recipients_asked().size(), 6u);
}

TEST_F(GrpcClientTest, ABrokenStreamIsResumed) {
  auto opened = Open(maildrops(), "token");
  ASSERT_TRUE(opened.ok()) << opened.status();
  for (int round = 1; round <= 3; ++round) {
    server()->BreakLeases(/*forget=*/false);
    // Whether the client knows already or not.
    const auto message = Fetch(*opened->maildrop, 3);
    ASSERT_TRUE(message.ok()) << message.status();
    EXPECT_EQ(*message, "three");
  }
  EXPECT_EQ(Open(maildrops(), "token").status().code(), absl::StatusCode::kAborted);
  server()->BreakLeases(/*forget=*/false);
  EXPECT_TRUE(Commit(*opened->maildrop, {3}).ok());
  EXPECT_GE(server()->resumed(), 1);
  EXPECT_EQ(fakes.maildrops.Uids("token"), std::vector<uint64_t>{5});
}

TEST_F(GrpcClientTest, WhoAsksInOrderIsReadAheadFor) {
  std::map<uint64_t, std::string> messages;
  for (uint64_t uid = 1; uid <= 10; ++uid) messages[uid] = absl::StrCat("message ", uid);
  fakes.maildrops.AddMaildrop("many", 7, messages);
  auto opened = Open(maildrops(), "many");
  ASSERT_TRUE(opened.ok()) << opened.status();
  for (const auto& [uid, message] : messages) {
    EXPECT_EQ(*Fetch(*opened->maildrop, uid), message);
    // TOP between them disturbs nothing.
    if (uid == 5) {
      EXPECT_EQ(*Fetch(*opened->maildrop, 1, 0), "message 1");
    }
  }
  EXPECT_EQ(server()->fetches(), 3) << "the first, all that follow it, TOP";
  // Nothing is kept that was handed out.
  EXPECT_EQ(*Fetch(*opened->maildrop, 4), "message 4");
  EXPECT_EQ(*Fetch(*opened->maildrop, 6), "message 6");
  EXPECT_EQ(server()->fetches(), 5);
}

// A session that gives up on a message is told so, and the next one comes.
TEST_F(GrpcClientTest, WhoStopsWaitingForAFetchIsAnswered) {
  auto opened = Open(maildrops(), "token");
  ASSERT_TRUE(opened.ok()) << opened.status();
  server()->HoldFetches(true);
  auto reader = opened->maildrop->Retrieve(Call(), 3, std::nullopt);
  std::promise<absl::Status> answered;
  reader->Read([&](absl::StatusOr<std::optional<std::string>> piece) {
    answered.set_value(piece.status());
  });
  ASSERT_TRUE(server()->AwaitFetch());
  reader.reset();
  auto answer = answered.get_future();
  ASSERT_EQ(answer.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_TRUE(absl::IsCancelled(answer.get()));
  server()->HoldFetches(false);
  EXPECT_EQ(*Fetch(*opened->maildrop, 5), "five");
}

TEST_F(GrpcClientTest, ALeaseOutlivesARestart) {
  auto opened = Open(maildrops(), "token");
  ASSERT_TRUE(opened.ok()) << opened.status();
  server()->Restart();
  const auto message = Fetch(*opened->maildrop, 5);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(*message, "five");
  EXPECT_TRUE(Commit(*opened->maildrop, {5}).ok());
  EXPECT_EQ(server()->resumed(), 1);
  EXPECT_EQ(fakes.maildrops.Uids("token"), std::vector<uint64_t>{3});
}

TEST_F(GrpcClientTest, ALostLeaseDeletesNothing) {
  auto opened = Open(maildrops(), "token");
  ASSERT_TRUE(opened.ok()) << opened.status();
  server()->BreakLeases(/*forget=*/true);
  ASSERT_TRUE(fakes.maildrops.WaitUntilClosed("token"));
  auto other = Open(maildrops(), "token");
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(Commit(*opened->maildrop, {3}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(fakes.maildrops.Uids("token").size(), 2u);
}

TEST_F(GrpcClientTest, DroppingEverythingWhileALeaseIsBroken) {
  for (int round = 0; round < 10; ++round) {
    auto opened = Open(maildrops(), "token");
    ASSERT_TRUE(opened.ok()) << opened.status();
    server()->BreakLeases(/*forget=*/true);
    const auto reader = opened->maildrop->Retrieve(Call(), 3, std::nullopt);
    std::promise<void> answered;
    reader->Read([&](absl::StatusOr<std::optional<std::string>>) { answered.set_value(); });
    opened = absl::CancelledError();
    EXPECT_EQ(answered.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
    ASSERT_TRUE(fakes.maildrops.WaitUntilClosed("token"));
  }
}

}  // namespace
}  // namespace postern::clients
