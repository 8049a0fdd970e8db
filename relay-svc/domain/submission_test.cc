// Policy and Submission: what may come in, what may leave, and as whom.
#include "relay-svc/domain/submission.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "boost/asio/co_spawn.hpp"
#include "boost/asio/io_context.hpp"
#include "relay-svc/domain/header_section.h"
#include "relay-svc/domain/policy.h"
#include "relay-svc/sqlite/sqlite_spool.h"
#include "services/async/wait.h"
#include "services/clients/content_fault.h"
#include "services/clients/testing/fake_auth_client.h"
#include "services/clients/testing/fake_store_client.h"
#include "services/limits/local_limits.h"
#include "services/rpc/limits.h"

namespace postern::relay {
namespace {

using auth::v1::ResolveRecipientResponse;

const absl::Time kNow = absl::FromUnixSeconds(1800000000);
constexpr char kNonce[] = "nonce";
constexpr char kBody[] =
    "Received: by gateway\r\nFrom: Alice <alice@example.test>\r\nDate: d\r\nMessage-ID: <1@a>\r\n"
    "\r\nbody\r\n";

// A key for tokens, on disk as auth-svc and relay-svc have it.
struct Keys {
  explicit Keys(const std::string& name)
      : private_file(absl::StrCat(testing::TempDir(), "/", name, ".key")),
        public_file(absl::StrCat(testing::TempDir(), "/", name, ".pub")) {
    EVP_PKEY* key = EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
    FILE* file = fopen(private_file.c_str(), "w");
    EXPECT_EQ(PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr), 1);
    fclose(file);
    file = fopen(public_file.c_str(), "w");
    EXPECT_EQ(PEM_write_PUBKEY(file, key), 1);
    fclose(file);
    EVP_PKEY_free(key);
  }
  std::string private_file, public_file;
};

template <typename T>
T Complete(boost::asio::awaitable<T> coroutine) {
  boost::asio::io_context context;
  T result;
  boost::asio::co_spawn(context, std::move(coroutine), [&](std::exception_ptr failure, T answer) {
    EXPECT_EQ(failure, nullptr);
    result = std::move(answer);
  });
  context.run();
  return result;
}

class SubmissionTest : public testing::Test {
 protected:
  SubmissionTest() {
    static int number = 0;
    const Keys keys("tokens");
    signer_ = *identity::TokenSigner::Open(keys.private_file);
    verifier_ = *identity::TokenVerifier::Open(keys.public_file);
    absl::StatusOr<std::unique_ptr<Spool>> spool =
        OpenSqliteSpool(absl::StrCat(testing::TempDir(), "/submission-", ++number, ".db"), {});
    EXPECT_TRUE(spool.ok()) << spool.status();
    spool_ = *std::move(spool);
    parts_.options = {.clock = [] { return kNow; }};
    parts_.spool = spool_.get();
    parts_.directory = &directory_;
    parts_.verifier = verifier_.get();
    parts_.committed = [this](std::vector<JobKey> due) { due_ = std::move(due); };
    parts_.limits = &limits_;
    UsePolicy({});

    directory_.LetSendAs("account-alice", "alice@example.test");
    directory_.LetSendAs("account-alice", "sales@example.test");
    store_.AddMailbox("b1");
    ResolveRecipientResponse bob;
    bob.set_outcome(ResolveRecipientResponse::OUTCOME_LOCAL);
    bob.add_mailboxes()->set_mailbox_id("b1");
    bob.mutable_mailboxes(0)->set_address("bob@example.test");
    directory_.SetRecipient("bob@example.test", bob);
    directory_.SetRecipient("postmaster", bob);
    SetOutcome("gone@example.test", ResolveRecipientResponse::OUTCOME_UNKNOWN);
    SetOutcome("off@example.test", ResolveRecipientResponse::OUTCOME_DISABLED);
    SetOutcome("x@remote.test", ResolveRecipientResponse::OUTCOME_NOT_LOCAL);
    SetOutcome("x@[127.0.0.1]", ResolveRecipientResponse::OUTCOME_NOT_LOCAL);
  }

  void UsePolicy(PolicyOptions options) {
    options.ttl_seconds = 7;
    options.clock = [] { return kNow; };
    policy_ = std::make_unique<Policy>(std::move(options), &directory_, &store_, verifier_.get(),
                                       &limits_);
  }

  void SetOutcome(const std::string& address, ResolveRecipientResponse::Outcome outcome) {
    ResolveRecipientResponse response;
    response.set_outcome(outcome);
    directory_.SetRecipient(address, response);
  }

  static token::v1::Claims GoodClaims() {
    token::v1::Claims claims;
    claims.set_account_id("account-alice");
    claims.set_address("alice@example.test");
    claims.set_purpose(auth::v1::PURPOSE_SUBMISSION);
    claims.set_gateway("gateway-smtp-submission");
    claims.set_session_nonce(kNonce);
    claims.set_issued_at(absl::ToUnixSeconds(kNow) - 10);
    claims.set_expires_at(absl::ToUnixSeconds(kNow) + 10);
    return claims;
  }
  std::string Token() const { return signer_->Sign(GoodClaims()); }

  // Every way in which a token can be wrong, by name.
  std::map<std::string, std::string> BadTokens() const {
    std::map<std::string, std::string> bad;
    const auto with = [&](void (*change)(token::v1::Claims&)) {
      token::v1::Claims claims = GoodClaims();
      change(claims);
      return signer_->Sign(claims);
    };
    bad["expired"] =
        with([](token::v1::Claims& c) { c.set_expires_at(absl::ToUnixSeconds(kNow) - 1); });
    bad["purpose"] = with([](token::v1::Claims& c) { c.set_purpose(auth::v1::PURPOSE_MAILDROP); });
    bad["gateway"] = with([](token::v1::Claims& c) { c.set_gateway("gateway-pop3"); });
    bad["session"] = with([](token::v1::Claims& c) { c.set_session_nonce("another"); });
    bad["none"] = "";
    bad["garbage"] = "garbage";
    std::string altered = Token();
    altered[altered.size() / 2] = altered[altered.size() / 2] == 'A' ? 'B' : 'A';
    bad["altered"] = altered;
    const Keys other("other");
    bad["wrong key"] = (*identity::TokenSigner::Open(other.private_file))->Sign(GoodClaims());
    return bad;
  }

  static Caller From(const std::string& identity) {
    return {identity, {rpc::TraceContext::New(), absl::Now() + absl::Seconds(10)}};
  }

  v1::EnqueueHeader Header(std::vector<std::string> recipients = {"x@remote.test"}) const {
    v1::EnqueueHeader header;
    header.set_token(Token());
    header.set_session_nonce(kNonce);
    header.set_delivery_id("0123456789abcdef");
    header.set_envelope_sender("alice@example.test");
    for (std::string& recipient : recipients) header.add_recipients(std::move(recipient));
    return header;
  }

  absl::StatusOr<v1::EnqueueResponse> Enqueue(
      v1::EnqueueHeader header, std::string body = kBody, size_t piece = 1 << 20,
      const std::string& identity = "gateway-smtp-submission") {
    return Complete(EnqueueAll(&parts_, From(identity), std::move(header), std::move(body), piece));
  }

  // Not inlined: GCC 12 would warn of Asio's own pair of operator new and delete.
  ABSL_ATTRIBUTE_NOINLINE
  static boost::asio::awaitable<absl::StatusOr<v1::EnqueueResponse>> EnqueueAll(
      const SubmissionParts* parts, Caller caller, v1::EnqueueHeader header, std::string body,
      size_t piece) {
    Submission submission(parts);
    absl::Status status = co_await submission.Begin(std::move(caller), std::move(header));
    for (size_t at = 0; status.ok() && at < body.size(); at += piece) {
      status = co_await submission.Add(absl::string_view(body).substr(at, piece));
    }
    if (!status.ok()) co_return status;
    co_return co_await submission.End();
  }

  std::string Spooled(const std::string& queue_id) {
    std::string body;
    for (int64_t index = 0;; ++index) {
      absl::StatusOr<std::string> piece = async::Wait<absl::StatusOr<std::string>>(
          [&](auto done) { spool_->ReadPiece(queue_id, index, std::move(done)); });
      if (!piece.ok()) return body;
      body += *piece;
    }
  }

  absl::StatusOr<v1::CheckRecipientResponse> CheckRecipient(const std::string& identity,
                                                            const std::string& recipient,
                                                            const std::string& token = "") {
    v1::CheckRecipientRequest request;
    request.set_recipient(recipient);
    request.set_token(token);
    if (!token.empty()) request.set_session_nonce(kNonce);
    return Complete(policy_->CheckRecipient(From(identity), request));
  }
  absl::StatusOr<v1::CheckSenderResponse> CheckSender(
      const std::string& sender, const std::string& token,
      const std::string& identity = "gateway-smtp-submission") {
    v1::CheckSenderRequest request;
    request.set_sender(sender);
    request.set_token(token);
    request.set_session_nonce(kNonce);
    return Complete(policy_->CheckSender(From(identity), request));
  }

  clients::FakeDirectoryClient directory_;
  clients::FakeDeliveryClient store_;
  std::unique_ptr<identity::TokenSigner> signer_;
  std::unique_ptr<identity::TokenVerifier> verifier_;
  std::unique_ptr<Spool> spool_;
  absl::Time limits_now_ = kNow;
  limits::LocalLimits limits_{[this] { return limits_now_; }};
  SubmissionParts parts_;
  std::unique_ptr<Policy> policy_;
  std::vector<JobKey> due_;
};

using PolicyTest = SubmissionTest;

TEST_F(PolicyTest, Connections) {
  const struct {
    const char* address;
    bool accepted;
  } cases[] = {{"192.0.2.1", true}, {"2001:db8::1", true}, {"", false}, {"example.test", false}};
  for (const auto& c : cases) {
    v1::CheckConnectionRequest request;
    request.set_client_address(c.address);
    const v1::CheckConnectionResponse response = *Complete(policy_->CheckConnection(request));
    EXPECT_EQ(response.refusal() == v1::REFUSAL_UNSPECIFIED, c.accepted) << c.address;
    EXPECT_EQ(response.ttl_seconds(), c.accepted ? 7 : 0) << c.address;
    EXPECT_FALSE(response.has_connections_left());
    EXPECT_FALSE(response.has_messages_left());
  }
}

TEST_F(PolicyTest, ANetworkHasRates) {
  using Request = v1::CheckConnectionRequest;
  UsePolicy({.connections = limits::Rate{5, absl::Minutes(1)},
             .messages = limits::Rate{3, absl::Minutes(1)}});
  const auto ask = [&](Request::Event event, int connections, int messages,
                       const std::string& address = "192.0.2.1") {
    Request request;
    request.set_client_address(address);
    request.set_event(event);
    request.set_connections(connections);
    request.set_messages(messages);
    const v1::CheckConnectionResponse response = *Complete(policy_->CheckConnection(request));
    return absl::StrCat(response.refusal() == v1::REFUSAL_UNSPECIFIED        ? "yes"
                        : response.refusal() == v1::REFUSAL_CLIENT_TEMPORARY ? "later"
                                                                             : "no",
                        " ", response.connections_left(), " ", response.messages_left());
  };
  EXPECT_EQ(ask(Request::EVENT_CONNECTION, 0, 0), "yes 4 3");
  // Two connections and a message came on that answer.
  EXPECT_EQ(ask(Request::EVENT_CONNECTION, 2, 1), "yes 1 2");
  EXPECT_EQ(ask(Request::EVENT_MESSAGE, 0, 1), "yes 1 0");
  EXPECT_EQ(ask(Request::EVENT_MESSAGE, 0, 0), "later 1 0");
  EXPECT_EQ(ask(Request::EVENT_CONNECTION, 0, 0, "192.0.2.200"), "yes 0 0");
  EXPECT_EQ(ask(Request::EVENT_CONNECTION, 0, 0), "later 0 0");
  EXPECT_EQ(ask(Request::EVENT_CONNECTION, 0, 0, "198.51.100.1"), "yes 4 3");
  limits_now_ += absl::Seconds(12);
  EXPECT_EQ(ask(Request::EVENT_CONNECTION, 0, 0), "yes 0 0");
  // More than it may was on its way when it was told so.
  EXPECT_EQ(ask(Request::EVENT_CONNECTION, 3, 0), "later 0 0");
  limits_now_ += absl::Seconds(12);
  EXPECT_EQ(ask(Request::EVENT_CONNECTION, 0, 0), "later 0 1");
}

TEST_F(PolicyTest, AStrangerIsGreylisted) {
  UsePolicy({.greylisting =
                 limits::Greylisting{absl::Minutes(5), absl::Hours(48), absl::Hours(24 * 36)}});
  const auto ask = [&](const std::string& address, const std::string& sender,
                       const std::string& recipient) {
    v1::CheckRecipientRequest request;
    request.set_client_address(address);
    request.set_sender(sender);
    request.set_recipient(recipient);
    const v1::CheckRecipientResponse response =
        *Complete(policy_->CheckRecipient(From("gateway-smtp-mx"), request));
    // Of this client and sender alone: not to be remembered for the recipient.
    EXPECT_EQ(response.ttl_seconds(), 0);
    return response.refusal();
  };
  const auto first = [&] { return ask("192.0.2.1", "carol@remote.test", "bob@example.test"); };
  EXPECT_EQ(first(), v1::REFUSAL_GREYLISTED);
  limits_now_ += absl::Minutes(4);
  EXPECT_EQ(first(), v1::REFUSAL_GREYLISTED);
  // A callback that asks whether an address exists.
  EXPECT_EQ(ask("192.0.2.1", "", "bob@example.test"), v1::REFUSAL_UNSPECIFIED);
  // What is refused anyway is told so at once.
  EXPECT_EQ(ask("192.0.2.1", "carol@remote.test", "gone@example.test"), v1::REFUSAL_UNKNOWN_USER);
  limits_now_ += absl::Minutes(1);
  EXPECT_EQ(ask("198.51.100.1", "carol@remote.test", "bob@example.test"), v1::REFUSAL_GREYLISTED);
  EXPECT_EQ(first(), v1::REFUSAL_UNSPECIFIED);
  // Its network is known from now on.
  EXPECT_EQ(ask("192.0.2.77", "dave@remote.test", "postmaster"), v1::REFUSAL_UNSPECIFIED);
}

// R3: unauthenticated, only to local, existing recipients.
TEST_F(PolicyTest, R3RecipientsOfStrangers) {
  const struct {
    const char* recipient;
    v1::Refusal refusal;
  } cases[] = {
      {"bob@example.test", v1::REFUSAL_UNSPECIFIED},
      {"postmaster", v1::REFUSAL_UNSPECIFIED},
      {"gone@example.test", v1::REFUSAL_UNKNOWN_USER},
      {"off@example.test", v1::REFUSAL_DISABLED},
      {"x@remote.test", v1::REFUSAL_RELAYING},
      {"no address", v1::REFUSAL_BAD_ADDRESS},
      {"", v1::REFUSAL_BAD_ADDRESS},
      // About relaying, not about syntax.
      {"x@[127.0.0.1]", v1::REFUSAL_RELAYING},
  };
  for (const auto& c : cases) {
    const absl::StatusOr<v1::CheckRecipientResponse> response =
        CheckRecipient("gateway-smtp-mx", c.recipient);
    ASSERT_TRUE(response.ok()) << c.recipient << ": " << response.status();
    EXPECT_EQ(response->refusal(), c.refusal) << c.recipient;
    const bool accepted = c.refusal == v1::REFUSAL_UNSPECIFIED;
    EXPECT_EQ(response->mailboxes_size(), accepted ? 1 : 0) << c.recipient;
    EXPECT_EQ(response->ttl_seconds(), accepted ? 7 : 0) << c.recipient;
  }
  store_.SetFull("b1", true);
  EXPECT_EQ(CheckRecipient("gateway-smtp-mx", "bob@example.test")->refusal(),
            v1::REFUSAL_MAILBOX_FULL);
}

// It is for ForwardingService to take, and for mx alone.
TEST_F(PolicyTest, AnAliasThatLeaves) {
  ResolveRecipientResponse alias;
  alias.set_outcome(ResolveRecipientResponse::OUTCOME_LOCAL);
  alias.add_forwards("x@remote.test");
  directory_.SetRecipient("out@example.test", alias);
  const auto at_mx = CheckRecipient("gateway-smtp-mx", "out@example.test");
  ASSERT_TRUE(at_mx.ok()) << at_mx.status();
  EXPECT_EQ(at_mx->refusal(), v1::REFUSAL_UNSPECIFIED);
  EXPECT_EQ(at_mx->forwards(), 1);
  EXPECT_EQ(at_mx->ttl_seconds(), 0);
  const auto of_a_user = CheckRecipient("gateway-smtp-submission", "out@example.test", Token());
  ASSERT_TRUE(of_a_user.ok()) << of_a_user.status();
  EXPECT_EQ(of_a_user->refusal(), v1::REFUSAL_UNSPECIFIED);
  EXPECT_EQ(of_a_user->forwards(), 1);
  // It goes by the queue, where a full member waits for itself.
  store_.SetFull("b1", true);
  alias.add_mailboxes()->set_mailbox_id("b1");
  directory_.SetRecipient("out@example.test", alias);
  EXPECT_EQ(CheckRecipient("gateway-smtp-mx", "out@example.test")->refusal(),
            v1::REFUSAL_UNSPECIFIED);
}

TEST_F(PolicyTest, RecipientsOfUsers) {
  store_.SetFull("b1", true);
  const struct {
    const char* recipient;
    v1::Refusal refusal;
  } cases[] = {
      // A full mailbox is the queue's business.
      {"bob@example.test", v1::REFUSAL_UNSPECIFIED},   {"x@remote.test", v1::REFUSAL_UNSPECIFIED},
      {"gone@example.test", v1::REFUSAL_UNKNOWN_USER}, {"off@example.test", v1::REFUSAL_DISABLED},
      {"x@[127.0.0.1]", v1::REFUSAL_UNSPECIFIED},
  };
  for (const auto& c : cases) {
    const auto response = CheckRecipient("gateway-smtp-submission", c.recipient, Token());
    ASSERT_TRUE(response.ok()) << c.recipient << ": " << response.status();
    EXPECT_EQ(response->refusal(), c.refusal) << c.recipient;
  }
  for (const auto& [name, token] : BadTokens()) {
    EXPECT_TRUE(absl::IsUnauthenticated(
        CheckRecipient("gateway-smtp-submission", "x@remote.test", token).status()))
        << name;
  }
  // A captured mx gateway gains nothing by a token.
  EXPECT_TRUE(absl::IsPermissionDenied(
      CheckRecipient("gateway-smtp-mx", "x@remote.test", Token()).status()));
}

TEST_F(PolicyTest, R9Senders) {
  EXPECT_EQ(CheckSender("alice@example.test", Token())->refusal(), v1::REFUSAL_UNSPECIFIED);
  EXPECT_EQ(CheckSender("sales@example.test", Token())->refusal(), v1::REFUSAL_UNSPECIFIED);
  EXPECT_EQ(CheckSender("bob@example.test", Token())->refusal(), v1::REFUSAL_MAY_NOT_SEND_AS);
  EXPECT_EQ(CheckSender("alice@remote.test", Token())->refusal(), v1::REFUSAL_MAY_NOT_SEND_AS);
  // Read receipts (RFC 8098 3); the header says who it is.
  EXPECT_EQ(CheckSender("", Token())->refusal(), v1::REFUSAL_UNSPECIFIED);
  EXPECT_EQ(CheckSender("alice", Token())->refusal(), v1::REFUSAL_BAD_ADDRESS);
  for (const auto& [name, token] : BadTokens()) {
    EXPECT_TRUE(absl::IsUnauthenticated(CheckSender("alice@example.test", token).status())) << name;
  }
  EXPECT_TRUE(absl::IsPermissionDenied(
      CheckSender("alice@example.test", Token(), "gateway-smtp-mx").status()));
}

TEST_F(PolicyTest, ServicesThatAreAway) {
  directory_.FailNext(absl::InternalError("x"));
  EXPECT_TRUE(absl::IsUnavailable(CheckRecipient("gateway-smtp-mx", "bob@example.test").status()));
  store_.FailNext(absl::DeadlineExceededError("x"));
  EXPECT_TRUE(absl::IsUnavailable(CheckRecipient("gateway-smtp-mx", "bob@example.test").status()));
  directory_.FailNext(absl::InternalError("x"));
  EXPECT_TRUE(absl::IsUnavailable(CheckSender("alice@example.test", Token()).status()));
}

// What the directory refuses to look at is not its absence.
TEST_F(PolicyTest, QuestionsThatTheDirectoryRefuses) {
  directory_.FailNext(absl::InvalidArgumentError("no domain"));
  EXPECT_EQ(CheckRecipient("gateway-smtp-mx", "bob@example.test")->refusal(),
            v1::REFUSAL_BAD_ADDRESS);
  directory_.FailNext(absl::InvalidArgumentError("more than 100 addresses"));
  EXPECT_TRUE(absl::IsInvalidArgument(Enqueue(Header()).status()));
}

TEST_F(SubmissionTest, CommitsAndTellsTheRunner) {
  const auto response = Enqueue(Header({"x@remote.test", "bob@example.test", "x@remote.test"}));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(Spooled(response->queue_id()), kBody);
  EXPECT_EQ(due_, (std::vector<JobKey>{{response->queue_id(), "remote.test"},
                                       {response->queue_id(), ""}}));
  const absl::StatusOr<QueueEntry> entry = async::Wait<absl::StatusOr<QueueEntry>>(
      [&](auto done) { spool_->Get(response->queue_id(), std::move(done)); });
  ASSERT_TRUE(entry.ok());
  EXPECT_EQ(entry->message.sender, "alice@example.test");
  EXPECT_EQ(entry->recipients.size(), 2u);
}

TEST_F(SubmissionTest, InPiecesOfAnySize) {
  std::string body = kBody;
  while (body.size() < 600'000) absl::StrAppend(&body, "line ", body.size(), "\r\n");
  for (const size_t piece : {size_t{1000}, size_t{65537}, size_t{256 << 10}}) {
    v1::EnqueueHeader header = Header();
    header.set_delivery_id(absl::StrCat("0123456789", piece));
    header.mutable_delivery_id()->resize(16, '.');
    const auto response = Enqueue(header, body, piece);
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_TRUE(Spooled(response->queue_id()) == body);
  }
  v1::EnqueueHeader header = Header();
  const auto response = Enqueue(header, kBody, 1);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(Spooled(response->queue_id()), kBody);
}

TEST_F(SubmissionTest, ARepeatHasOneEffect) {
  const std::string body = "From: alice@example.test\r\n\r\nbody\r\n";
  const auto first = Enqueue(Header(), body);
  const auto again = Enqueue(Header(), body, 7);
  ASSERT_TRUE(first.ok() && again.ok()) << again.status();
  EXPECT_FALSE(first->repeated_delivery());
  EXPECT_TRUE(again->repeated_delivery());
  EXPECT_EQ(first->queue_id(), again->queue_id());
  EXPECT_TRUE(absl::IsAlreadyExists(Enqueue(Header(), body + "more\r\n").status()));
  EXPECT_TRUE(absl::IsAlreadyExists(Enqueue(Header({"bob@example.test"}), body).status()));
  EXPECT_EQ(spool_->messages(), 1);
}

// R9, and the predecessor's envelope sender from the header, its sender check by local part only
// and for remote recipients only.
TEST_F(SubmissionTest, R9EveryOriginatorIsTheUsers) {
  const struct {
    const char* envelope;
    const char* header;
    absl::StatusCode code;
  } cases[] = {
      {"alice@example.test", "From: sales@example.test", absl::StatusCode::kOk},
      {"sales@example.test", "From: alice@example.test\r\nSender: sales@example.test",
       absl::StatusCode::kOk},
      {"bob@example.test", "From: alice@example.test", absl::StatusCode::kPermissionDenied},
      {"alice@other.test", "From: alice@example.test", absl::StatusCode::kPermissionDenied},
      // A read receipt (RFC 8098 3).
      {"", "From: alice@example.test", absl::StatusCode::kOk},
      {"", "From: bob@example.test", absl::StatusCode::kPermissionDenied},
      {"", "Subject: nobody's", absl::StatusCode::kInvalidArgument},
      {"alice@example.test", "From: alice@example.test\r\nResent-From: sales@example.test",
       absl::StatusCode::kOk},
      {"alice@example.test", "From: alice@example.test\r\nResent-From: bob@example.test",
       absl::StatusCode::kPermissionDenied},
      {"alice@example.test", "From: alice@example.test\r\nResent-Sender: bob@example.test",
       absl::StatusCode::kPermissionDenied},
      {"alice@example.test", "From: bob@example.test", absl::StatusCode::kPermissionDenied},
      {"alice@example.test", "From: alice@example.test, bob@example.test",
       absl::StatusCode::kPermissionDenied},
      {"alice@example.test", "From: \"alice@example.test\" <bob@example.test>",
       absl::StatusCode::kPermissionDenied},
      {"alice@example.test", "From: alice@example.test\r\nSender: bob@example.test",
       absl::StatusCode::kPermissionDenied},
      {"alice@example.test", "From: alice@example.test\r\nFrom: bob@example.test",
       absl::StatusCode::kInvalidArgument},
      {"alice@example.test", "Subject: no From", absl::StatusCode::kOk},
      {"alice@example.test", "Sender: bob@example.test", absl::StatusCode::kPermissionDenied},
      {"alice@example.test", "From: alice@example.test\r\nno field\r\nFrom: bob@example.test",
       absl::StatusCode::kInvalidArgument},
      {"not an address", "From: alice@example.test", absl::StatusCode::kInvalidArgument},
  };
  int number = 0;
  for (const auto& c : cases) {
    for (const char* recipient : {"x@remote.test", "bob@example.test"}) {
      v1::EnqueueHeader header = Header({recipient});
      header.set_envelope_sender(c.envelope);
      header.set_delivery_id(absl::StrCat("delivery", 10000000 + ++number));
      const auto response = Enqueue(header, absl::StrCat(c.header, "\r\n\r\nbody\r\n"));
      EXPECT_EQ(response.status().code(), c.code) << c.envelope << " " << c.header;
    }
  }
}

TEST_F(SubmissionTest, AMessageWithoutFromGetsItsSenders) {
  const struct {
    const char* sent;
    const char* spooled;
  } cases[] = {
      {"Received: x\r\nSubject: y\r\n\r\nbody\r\n",
       "Received: x\r\nSubject: y\r\nFrom: <alice@example.test>\r\n\r\nbody\r\n"},
      {"Received: x\r\n", "Received: x\r\nFrom: <alice@example.test>\r\n"},
      {"\r\nno header\r\n", "From: <alice@example.test>\r\n\r\nno header\r\n"},
      // Nothing else is added.
      {"Received: x\r\nfrom: alice@example.test\r\n\r\n",
       "Received: x\r\nfrom: alice@example.test\r\n\r\n"},
  };
  char id = 'a';
  for (const auto& c : cases) {
    for (const size_t piece : {size_t{1}, size_t{100000}}) {
      v1::EnqueueHeader header = Header();
      header.set_delivery_id(std::string(16, id++));
      const absl::StatusOr<v1::EnqueueResponse> response = Enqueue(header, c.sent, piece);
      ASSERT_TRUE(response.ok()) << response.status();
      EXPECT_EQ(Spooled(response->queue_id()), c.spooled);
    }
  }
}

TEST_F(SubmissionTest, WhatIsRefused) {
  const auto code = [&](const v1::EnqueueHeader& header, const std::string& body = kBody) {
    return Enqueue(header, body).status().code();
  };
  EXPECT_EQ(code(Header({})), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Header({"no address"})), absl::StatusCode::kInvalidArgument);

  // It was there at RCPT: the transaction may be tried again.
  EXPECT_EQ(code(Header({"gone@example.test"})), absl::StatusCode::kAborted);
  EXPECT_EQ(code(Header({"off@example.test"})), absl::StatusCode::kAborted);
  EXPECT_EQ(code(Header(std::vector<std::string>(1001, "x@remote.test"))),
            absl::StatusCode::kInvalidArgument);
  v1::EnqueueHeader header = Header();
  header.set_delivery_id("short");
  EXPECT_EQ(code(header), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Header(), absl::StrCat("X: ", std::string(300'000, 'x'), "\r\n", kBody)),
            absl::StatusCode::kInvalidArgument);
  for (const char* loose : {"a\nb\r\n", "a\rb\r\n", "a\n.\r\nb\r\n", "a\r\n.\rb\r\n", "a\r"}) {
    for (const size_t piece : {size_t{1}, size_t{100000}}) {
      EXPECT_EQ(Enqueue(Header(), absl::StrCat(kBody, loose), piece).status().code(),
                absl::StatusCode::kInvalidArgument)
          << loose;
    }
  }
  parts_.options.max_message_octets = 200;
  EXPECT_EQ(code(Header(), absl::StrCat(kBody, std::string(200, 'x'), "\r\n")),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(spool_->messages(), 0);
}

// Anybody's mail, from anybody, to addresses of ours alone: R3 holds whatever the gateway says.
TEST_F(SubmissionTest, R3WhatIsForwardedIsForUsAlone) {
  parts_.options.from = SubmissionOptions::From::kAnybody;
  const auto forward = [&](std::vector<std::string> recipients, const std::string& body = kBody) {
    v1::EnqueueHeader header = Header(std::move(recipients));
    header.clear_token();
    header.set_envelope_sender("stranger@elsewhere.test");
    return Enqueue(std::move(header), body, 1 << 20, "gateway-smtp-mx");
  };
  EXPECT_TRUE(absl::IsAborted(forward({"x@remote.test"}).status()));
  EXPECT_TRUE(absl::IsAborted(forward({"bob@example.test", "x@remote.test"}).status()));
  EXPECT_TRUE(absl::IsAborted(forward({"gone@example.test"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(forward({}).status()));
  // More than one message may go to.
  ResolveRecipientResponse many;
  many.set_outcome(ResolveRecipientResponse::OUTCOME_LOCAL);
  for (int i = 0; i < rpc::kMaxMailboxes; ++i) many.add_forwards(absl::StrCat(i, "@remote.test"));
  directory_.SetRecipient("many@example.test", many);
  EXPECT_TRUE(absl::IsInvalidArgument(forward({"many@example.test", "bob@example.test"}).status()));
  EXPECT_EQ(spool_->messages(), 0);
  // What a header says is nobody's business here.
  const std::string odd = "Received: from x by mx.test\r\nno field\r\nFrom: a\r\nFrom: b\r\n\r\nx";
  const auto taken = forward({"bob@example.test"}, odd);
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_EQ(Spooled(taken->queue_id()), odd);
  EXPECT_EQ(due_, (std::vector<JobKey>{{taken->queue_id(), ""}}));
  // The last part of the queue is the users'.
  parts_.options.max_queue_messages = 1;
  EXPECT_TRUE(absl::IsResourceExhausted(forward({"bob@example.test"}).status()));
  parts_.options.max_queue_messages = 2;
  std::string looping;
  for (int i = 0; i < kMaxHopsThroughHere + 1; ++i) looping += "Received: from x by mx.test\r\n";
  const auto fault = clients::ContentFaultOf(forward({"bob@example.test"}, looping).status());
  ASSERT_TRUE(fault.has_value());
  EXPECT_EQ(fault->kind(), v1::ContentFault::KIND_LOOP);
}

TEST_F(SubmissionTest, TokensAreCheckedAgain) {
  for (const auto& [name, token] : BadTokens()) {
    v1::EnqueueHeader header = Header();
    header.set_token(token);
    EXPECT_TRUE(absl::IsUnauthenticated(Enqueue(header).status())) << name;
  }
  EXPECT_TRUE(
      absl::IsPermissionDenied(Enqueue(Header(), kBody, 1 << 20, "gateway-smtp-mx").status()));
  EXPECT_EQ(spool_->messages(), 0);
}

TEST_F(SubmissionTest, AnAccountHasARateOfRecipients) {
  parts_.options.recipients = limits::Rate{5, absl::Minutes(1)};
  const std::vector<std::string> two = {"x@remote.test", "bob@example.test"};
  int number = 0;
  const auto send = [&](const std::vector<std::string>& to) {
    v1::EnqueueHeader header = Header(to);
    header.set_delivery_id(absl::StrCat("delivery ", absl::Dec(++number, absl::kZeroPad7)));
    return Enqueue(header).status().code();
  };
  EXPECT_EQ(send(two), absl::StatusCode::kOk);
  // What was refused for another reason costs nothing.
  EXPECT_EQ(send({"bob@example.test", "gone@example.test"}), absl::StatusCode::kAborted);
  EXPECT_EQ(send(two), absl::StatusCode::kOk);
  EXPECT_EQ(send(two), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(spool_->messages(), 2);
  // Nor does a repetition.
  number -= 2;
  EXPECT_EQ(send({"bob@example.test"}), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(send({"bob@example.test"}), absl::StatusCode::kOk);
  EXPECT_EQ(send({"bob@example.test"}), absl::StatusCode::kFailedPrecondition);
  limits_now_ += absl::Seconds(12);
  EXPECT_EQ(send({"bob@example.test"}), absl::StatusCode::kOk);
}

TEST_F(SubmissionTest, AuthSvcAway) {
  directory_.FailNext(absl::DeadlineExceededError("x"));
  EXPECT_TRUE(absl::IsUnavailable(Enqueue(Header()).status()));
  EXPECT_TRUE(Enqueue(Header()).ok());
}

}  // namespace
}  // namespace postern::relay
