// Whole sessions on real sockets, with the services' fakes.
#include "gateway-smtp/session.h"

#include <malloc.h>

#include <algorithm>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "services/clients/testing/fake_auth_client.h"
#include "services/clients/testing/fake_relay_client.h"
#include "services/clients/testing/fake_store_client.h"
#include "services/identity/test_pki.h"
#include "services/net/gateway.h"
#include "services/net/test_client.h"

namespace postern::gateway_smtp {
namespace {

using net::TestClient;
using testing::AssertionFailure;
using testing::AssertionSuccess;

constexpr absl::Duration kLong = absl::Seconds(20);

// "\0alice@example.test\0secret"
constexpr char kAuthPlain[] = "AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=\r\n";
constexpr char kAuthPlainWrong[] = "AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdAB3cm9uZw==\r\n";

// A store that answers when the test says so; a stream of it never answers, but for its end.
class HeldDeliveryClient : public clients::DeliveryClient {
 public:
  using Response = store::v1::DeliverResponse;

  void Deliver(const rpc::CallContext& call, store::v1::DeliverRequest request,
               async::Done<Response> done) override {
    (void)call;
    request_ = std::move(request);
    asked_.set_value(std::move(done));
  }
  std::unique_ptr<clients::BodyStream<Response>> DeliverStream(const rpc::CallContext&,
                                                               store::v1::DeliveryHeader) override {
    return std::make_unique<Stuck>();
  }
  void CheckQuota(const rpc::CallContext&, store::v1::CheckQuotaRequest,
                  async::Done<store::v1::CheckQuotaResponse>) override {}

  // Waits until Deliver is asked.
  async::Done<Response> Asked() { return asked_.get_future().get(); }

 private:
  class Stuck : public clients::BodyStream<Response> {
   public:
    ~Stuck() override {
      if (done_) done_(absl::CancelledError("destroyed"));
    }
    void Write(std::string, async::DoneStatus done) override { done_ = std::move(done); }
    void Finish(async::Done<Response>) override {}

   private:
    async::DoneStatus done_;
  };

  store::v1::DeliverRequest request_;
  std::promise<async::Done<Response>> asked_;
};

// A store that takes everything and keeps nothing.
class OpenDeliveryClient : public HeldDeliveryClient {
 public:
  void Deliver(const rpc::CallContext&, store::v1::DeliverRequest,
               async::Done<Response> done) override {
    done(Response());
  }
};

class SessionTest : public testing::Test {
 protected:
  SessionTest()
      : pki_(absl::StrCat(testing::TempDir(), "/",
                          testing::UnitTest::GetInstance()->current_test_info()->name())) {
    listener_.set_name("smtp");
    setup_.options.hostname = "mail.example.test";
    setup_.policy = &policy_;
    setup_.clock = [] { return absl::FromUnixSeconds(1795561974); };
    policy_.SetConnection("127.0.0.1", {});
    AddRecipient("alice@example.test", {"a"});
    AddRecipient("bob@example.test", {"b"});
    relay::v1::CheckRecipientResponse refused;
    refused.set_refusal(relay::v1::REFUSAL_RELAYING);
    policy_.SetRecipient("stranger@elsewhere.test", refused);
    refused.set_refusal(relay::v1::REFUSAL_UNKNOWN_USER);
    policy_.SetRecipient("nobody@example.test", refused);
  }

  void AddRecipient(const std::string& address, std::vector<std::string> mailboxes) {
    relay::v1::CheckRecipientResponse response;
    for (const std::string& id : mailboxes) {
      auth::v1::Mailbox* mailbox = response.add_mailboxes();
      mailbox->set_mailbox_id(id);
      mailbox->set_address(absl::StrCat(id, "-account@example.test"));
      delivery_.AddMailbox(id);
    }
    policy_.SetRecipient(address, response);
  }

  void WithTls() {
    const config::v1::MutualTls files = pki_.Issue("mail.example.test", {});
    config::v1::SecurityDomain* domain = domains_.Add();
    domain->set_name("public");
    domain->set_certificate_file(files.certificate_file());
    domain->set_private_key_file(files.private_key_file());
    listener_.set_security_domain("public");
  }

  void StartMx() {
    if (setup_.delivery == nullptr) setup_.delivery = &delivery_;
    setup_.forwarding = &forwarding_;
    forwarding_.AddToken("");
    Start();
  }

  void StartSubmission() {
    WithTls();
    if (!listener_.implicit_tls()) listener_.set_tls_enabled(true);
    setup_.options.submission = true;
    setup_.authentication = &authentication_;
    setup_.mechanisms = &mechanisms_;
    setup_.submission = &submission_;
    success_.set_token("token");
    success_.set_address("alice@example.test");
    success_.set_expires_at(absl::ToUnixSeconds(setup_.clock() + absl::Minutes(10)));
    authentication_.AddAccount("alice@example.test", "secret", success_);
    submission_.AddToken("token");
    policy_.SetSender("alice@example.test", relay::v1::REFUSAL_UNSPECIFIED);
    policy_.SetSender("bob@example.test", relay::v1::REFUSAL_MAY_NOT_SEND_AS);
    policy_.SetRecipient("stranger@elsewhere.test", {});
    Start();
  }

  void Start() {
    setup_.options.starttls = listener_.tls_enabled();
    setup_.options.implicit_tls = listener_.implicit_tls();
    setup_.options.require_tls = listener_.require_tls();
    auto profiles = net::LoadSecurityDomains(domains_);
    ASSERT_TRUE(profiles.ok()) << profiles.status();
    std::vector<net::GatewayListener> listeners;
    listeners.push_back(
        {listener_,
         [this](net::SessionContext context) { return RunSession(std::move(context), &setup_); },
         "421 4.3.2 busy\r\n"});
    auto gateway = net::Gateway::Start(std::move(listeners), *profiles, 2);
    ASSERT_TRUE(gateway.ok()) << gateway.status();
    gateway_ = *std::move(gateway);
    port_ = gateway_->Ports().at("smtp");
  }

  // Sends one command and compares the reply's start.
  static testing::AssertionResult Says(TestClient& client, const std::string& command,
                                       const std::string& reply) {
    client.Send(command);
    const std::string got = client.ReadReply();
    if (absl::StartsWith(got, reply)) return AssertionSuccess();
    return AssertionFailure() << command << " was answered by \"" << got << "\", not " << reply;
  }

  // Greeting and EHLO; on submission TLS and login too.
  std::unique_ptr<TestClient> Open() {
    auto client = std::make_unique<TestClient>(port_);
    EXPECT_TRUE(!listener_.implicit_tls() || client->StartTls());
    EXPECT_TRUE(Says(*client, "", "220 mail.example.test ESMTP"));
    if (setup_.options.submission && !listener_.implicit_tls()) {
      EXPECT_TRUE(Says(*client, "EHLO me.test\r\n", "250-"));
      EXPECT_TRUE(Says(*client, "STARTTLS\r\n", "220 2.0.0"));
      EXPECT_TRUE(client->StartTls());
    }
    EXPECT_TRUE(Says(*client, "EHLO me.test\r\n", "250-"));
    return client;
  }
  std::unique_ptr<TestClient> LoggedIn() {
    auto client = Open();
    EXPECT_TRUE(Says(*client, kAuthPlain, "235 2.7.0"));
    return client;
  }
  static testing::AssertionResult Envelope(TestClient& client, const std::string& recipient) {
    if (auto r = Says(client, "MAIL FROM:<alice@example.test>\r\n", "250"); !r) return r;
    if (auto r = Says(client, "RCPT TO:<" + recipient + ">\r\n", "250"); !r) return r;
    return Says(client, "DATA\r\n", "354");
  }

  identity::TestPki pki_;
  google::protobuf::RepeatedPtrField<config::v1::SecurityDomain> domains_;
  config::v1::Listener listener_;
  SessionSetup setup_;
  clients::FakePolicyClient policy_;
  clients::FakeDeliveryClient delivery_;
  clients::FakeAuthenticationClient authentication_;
  net::OfferedMechanisms mechanisms_{&authentication_, "mail.example.test"};
  clients::FakeSubmissionClient submission_;
  clients::FakeSubmissionClient forwarding_;
  auth::v1::AuthenticateResponse::Success success_;
  int port_ = 0;
  // First to go.
  std::unique_ptr<net::Gateway> gateway_;
};

TEST_F(SessionTest, DeliversWithReceivedInFront) {
  StartMx();
  const auto client = Open();
  ASSERT_TRUE(Envelope(*client, "alice@example.test"));
  client->Send("Subject: hi\r\n\r\n..dots\r\n.\r\n");
  const std::string reply = client->ReadReply();
  ASSERT_TRUE(absl::StartsWith(reply, "250 2.0.0 Accepted as ")) << reply;
  ASSERT_EQ(delivery_.delivered().size(), 1u);
  const store::v1::DeliverRequest request = delivery_.delivered()[0];
  const std::string id = absl::BytesToHexString(request.header().delivery_id());
  EXPECT_TRUE(absl::StrContains(reply, id));
  EXPECT_EQ(request.body(), absl::StrCat("Received: from me.test ([127.0.0.1])\r\n"
                                         "\tby mail.example.test with ESMTP\r\n"
                                         "\tid ",
                                         id,
                                         "\r\n"
                                         "\tfor <alice@example.test>;\r\n"
                                         "\tTue, 24 Nov 2026 23:12:54 +0000\r\n"
                                         "Subject: hi\r\n\r\n.dots\r\n"));
  EXPECT_EQ(request.header().envelope_sender(), "alice@example.test");
  ASSERT_EQ(request.header().recipients().size(), 1);
  EXPECT_EQ(request.header().recipients(0).mailbox_id(), "a");
  EXPECT_EQ(request.header().recipients(0).address(), "a-account@example.test");
  EXPECT_EQ(request.header().recipients(0).original_recipient(), "alice@example.test");
  EXPECT_TRUE(Says(*client, "QUIT\r\n", "221"));
  EXPECT_EQ(client->ReadToEnd(), "");
}

// What stands behind our Received field of the one message that a transaction brought.
std::string Behind(const std::string& body) {
  constexpr absl::string_view kEnd = " +0000\r\n";
  return body.substr(body.find(kEnd.data()) + kEnd.size());
}

TEST_F(SessionTest, StrangersHeadersAreMended) {
  StartMx();
  const auto client = Open();
  const std::pair<std::string, std::string> kCases[] = {
      {"Subject: x\r\n\r\nx\r\n", "Subject: x\r\n\r\nx\r\n"},
      {"Return-Path: <x@y.test>\r\nBCC: a@b.test,\r\n c@d.test\r\nSubject: x\r\n\r\nBcc: y\r\n",
       "Subject: x\r\n\r\nBcc: y\r\n"},
      {"Delivered-To: x@y.test\r\nSubject: x\r\n\r\n", "Subject: x\r\n\r\n"},
      {"hello world\r\n", "\r\nhello world\r\n"},
      {" by eve@example.test\r\n", "\r\n by eve@example.test\r\n"},
      {"From eve Tue Nov 24 23:12:54 2026\r\nSubject: x\r\n\r\nx\r\n",
       "X-Mailbox-Line: From eve Tue Nov 24 23:12:54 2026\r\nSubject: x\r\n\r\nx\r\n"},
  };
  for (const auto& [sent, kept] : kCases) {
    ASSERT_TRUE(Envelope(*client, "alice@example.test"));
    ASSERT_TRUE(Says(*client, sent + ".\r\n", "250 2.0.0")) << sent;
    EXPECT_EQ(Behind(delivery_.delivered().back().body()), kept);
  }
}

// RFC 6409 8.2, 8.3; RFC 5322 3.6.3.
TEST_F(SessionTest, UsersHeadersAreCompleted) {
  StartSubmission();
  const auto client = LoggedIn();
  const std::string date = "Date: Tue, 24 Nov 2026 23:12:54 +0000\r\n";
  // Less the Message-ID.
  const std::pair<std::string, std::string> kCases[] = {
      {"Subject: x\r\nBcc: y\r\n\r\nx\r\n", "Subject: x\r\n" + date + "\r\nx\r\n"},
      {"Delivered-To: x@y.test\r\ndate: d\r\n\r\nx\r\n", "date: d\r\n\r\nx\r\n"},
      {"hello world\r\n", date + "\r\nhello world\r\n"},
      {"", date},
  };
  for (const auto& [sent, kept] : kCases) {
    ASSERT_TRUE(Envelope(*client, "stranger@elsewhere.test"));
    ASSERT_TRUE(Says(*client, sent + ".\r\n", "250 2.0.0")) << sent;
    const relay::v1::EnqueueRequest request = submission_.enqueued().back();
    const std::string message_id =
        absl::StrCat("Message-ID: <", absl::BytesToHexString(request.header().delivery_id()),
                     "@example.test>\r\n");
    EXPECT_EQ(absl::StrReplaceAll(Behind(request.body()), {{message_id, ""}}), kept);
    EXPECT_TRUE(absl::StrContains(request.body(), message_id)) << request.body();
  }
  ASSERT_TRUE(Envelope(*client, "stranger@elsewhere.test"));
  const std::string whole = "Message-Id: <1@a>\r\nDate: d\r\n\r\nx\r\n";
  ASSERT_TRUE(Says(*client, whole + ".\r\n", "250 2.0.0"));
  EXPECT_EQ(Behind(submission_.enqueued().back().body()), whole);
}

// Other servers find by it that a message comes back to them.
TEST_F(SessionTest, WhatGoesOnKeepsDeliveredTo) {
  relay::v1::CheckRecipientResponse leaves;
  leaves.set_forwards(1);
  policy_.SetRecipient("out@example.test", leaves);
  StartMx();
  const auto client = Open();
  ASSERT_TRUE(Envelope(*client, "out@example.test"));
  ASSERT_TRUE(Says(*client, "Delivered-To: x@y.test\r\nReturn-Path: <z>\r\n\r\nx\r\n.\r\n", "250"));
  EXPECT_EQ(Behind(forwarding_.enqueued().at(0).body()), "Delivered-To: x@y.test\r\n\r\nx\r\n");
}

TEST_F(SessionTest, AnEmptyBodyIsAMessage) {
  StartMx();
  const auto client = Open();
  ASSERT_TRUE(Envelope(*client, "alice@example.test"));
  EXPECT_TRUE(Says(*client, ".\r\n", "250 2.0.0"));
  ASSERT_EQ(delivery_.delivered().size(), 1u);
  EXPECT_TRUE(absl::EndsWith(delivery_.delivered()[0].body(), " +0000\r\n"));
}

TEST_F(SessionTest, OnePipelinedGroupIsEnough) {
  StartMx();
  const auto client = Open();
  client->Send(
      "MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n");
  for (const char* code : {"250 2.1.0", "250 2.1.5", "250 2.1.5", "354"}) {
    EXPECT_TRUE(Says(*client, "", code));
  }
  client->Send("x\r\n.\r\nQUIT\r\n");
  EXPECT_TRUE(Says(*client, "", "250 2.0.0"));
  EXPECT_TRUE(Says(*client, "", "221"));
  ASSERT_EQ(delivery_.delivered().size(), 1u);
  // No recipient learns of another.
  EXPECT_FALSE(absl::StrContains(delivery_.delivered()[0].body(), "for <"));
  EXPECT_EQ(delivery_.delivered()[0].header().recipients().size(), 2);
}

TEST_F(SessionTest, AnAliasLeadsToAllItsMailboxes) {
  AddRecipient("team@example.test", {"a", "b", "c"});
  StartMx();
  const auto client = Open();
  ASSERT_TRUE(Says(*client, "MAIL FROM:<x@elsewhere.test>\r\n", "250"));
  ASSERT_TRUE(Says(*client, "RCPT TO:<nobody@example.test>\r\n", "550 5.1.1"));
  ASSERT_TRUE(Says(*client, "RCPT TO:<team@example.test>\r\n", "250"));
  ASSERT_TRUE(Says(*client, "DATA\r\n", "354"));
  ASSERT_TRUE(Says(*client, "x\r\n.\r\n", "250"));
  const auto recipients = delivery_.delivered().at(0).header().recipients();
  ASSERT_EQ(recipients.size(), 3);
  for (const auto& recipient : recipients) {
    EXPECT_EQ(recipient.original_recipient(), "team@example.test");
  }
}

// All of a transaction goes where one commit stands behind its 250.
TEST_F(SessionTest, AnAliasThatLeavesTakesTheMessageToTheQueue) {
  relay::v1::CheckRecipientResponse leaves;
  leaves.set_forwards(1);
  policy_.SetRecipient("out@example.test", leaves);
  StartMx();
  const auto client = Open();
  ASSERT_TRUE(Says(*client, "MAIL FROM:<x@elsewhere.test>\r\n", "250"));
  ASSERT_TRUE(Says(*client, "RCPT TO:<alice@example.test>\r\n", "250"));
  ASSERT_TRUE(Says(*client, "RCPT TO:<out@example.test>\r\n", "250"));
  ASSERT_TRUE(Says(*client, "DATA\r\n", "354"));
  ASSERT_TRUE(Says(*client, "x\r\n.\r\n", "250 2.0.0 Accepted as queue-1"));
  ASSERT_EQ(forwarding_.enqueued().size(), 1u);
  const relay::v1::EnqueueHeader header = forwarding_.enqueued()[0].header();
  EXPECT_EQ(header.envelope_sender(), "x@elsewhere.test");
  ASSERT_EQ(header.recipients_size(), 2);
  EXPECT_EQ(header.recipients(0), "alice@example.test");
  EXPECT_EQ(header.recipients(1), "out@example.test");
  // The next one does not.
  ASSERT_TRUE(Envelope(*client, "alice@example.test"));
  ASSERT_TRUE(Says(*client, "x\r\n.\r\n", "250"));
  EXPECT_EQ(delivery_.delivered().size(), 1u);
  const std::pair<absl::Status, const char*> refusals[] = {
      {absl::AbortedError("gone"), "451 4.3.0"},
      {absl::ResourceExhaustedError("full"), "452 4.3.1"},
      {absl::InvalidArgumentError("bad"), "554 5.6.0"},
      // No server's fault.
      {absl::PermissionDeniedError("not you"), "451 4.3.0"},
      {absl::UnauthenticatedError("not you"), "451 4.3.0"}};
  for (const auto& [status, reply] : refusals) {
    forwarding_.FailNext(status);
    ASSERT_TRUE(Envelope(*client, "out@example.test"));
    ASSERT_TRUE(Says(*client, "x\r\n.\r\n", reply)) << status;
  }
  EXPECT_EQ(forwarding_.enqueued().size(), 1u);
}

// R3, and what RSET and a new MAIL leave behind: nothing.
TEST_F(SessionTest, R3_StrangersReachOnlyLocalRecipients) {
  relay::v1::CheckRecipientResponse accepted_without_mailboxes;
  policy_.SetRecipient("odd@elsewhere.test", accepted_without_mailboxes);
  StartMx();
  const auto client = Open();
  ASSERT_TRUE(Says(*client, "MAIL FROM:<x@elsewhere.test>\r\n", "250"));
  EXPECT_TRUE(Says(*client, "RCPT TO:<stranger@elsewhere.test>\r\n", "550 5.7.1"));
  // Whatever relay-svc says: an mx gateway has no way out.
  EXPECT_TRUE(Says(*client, "RCPT TO:<odd@elsewhere.test>\r\n", "550 5.7.1"));
  EXPECT_TRUE(Says(*client, "RCPT TO:<bob@example.test>\r\n", "250"));
  EXPECT_TRUE(Says(*client, "RSET\r\n", "250"));
  ASSERT_TRUE(Envelope(*client, "alice@example.test"));
  ASSERT_TRUE(Says(*client, "x\r\n.\r\n", "250"));
  EXPECT_EQ(delivery_.delivered().at(0).header().recipients().size(), 1);
}

TEST_F(SessionTest, R5_MxNeverTakesAuth) {
  WithTls();
  listener_.set_tls_enabled(true);
  StartMx();
  TestClient client(port_);
  client.ReadReply();
  client.Send("EHLO me.test\r\n");
  const std::string plain = client.ReadReply();
  EXPECT_TRUE(absl::StrContains(plain, "STARTTLS"));
  EXPECT_FALSE(absl::StrContains(plain, "AUTH"));
  EXPECT_TRUE(Says(client, "STARTTLS\r\n", "220"));
  ASSERT_TRUE(client.StartTls());
  client.Send("EHLO me.test\r\n");
  const std::string secure = client.ReadReply();
  EXPECT_FALSE(absl::StrContains(secure, "STARTTLS"));
  EXPECT_FALSE(absl::StrContains(secure, "AUTH"));
  EXPECT_TRUE(Says(client, kAuthPlain, "503"));
  ASSERT_TRUE(Envelope(client, "alice@example.test"));
  ASSERT_TRUE(Says(client, "x\r\n.\r\n", "250"));
  EXPECT_TRUE(absl::StrContains(delivery_.delivered().at(0).body(), "with ESMTPS (TLSv1.3 TLS_"));
}

// CVE-2011-0411: what was sent ahead in clear is no command within TLS.
TEST_F(SessionTest, StarttlsDropsWhatWasSentAhead) {
  WithTls();
  listener_.set_tls_enabled(true);
  StartMx();
  TestClient client(port_);
  client.ReadReply();
  client.Send("STARTTLS\r\nMAIL FROM:<injected@example.test>\r\nNOOP\r\n");
  EXPECT_TRUE(Says(client, "", "220"));
  ASSERT_TRUE(client.StartTls());
  EXPECT_TRUE(Says(client, "EHLO me.test\r\n", "250-mail.example.test"));
  EXPECT_TRUE(Says(client, "RCPT TO:<alice@example.test>\r\n", "503"));
}

TEST_F(SessionTest, R6_AuthOnlyAfterTls) {
  StartSubmission();
  TestClient client(port_);
  client.ReadReply();
  client.Send("EHLO me.test\r\n");
  EXPECT_FALSE(absl::StrContains(client.ReadReply(), "AUTH"));
  EXPECT_TRUE(Says(client, kAuthPlain, "538 5.7.11"));
  EXPECT_TRUE(authentication_.starts().empty());
}

TEST_F(SessionTest, R4_SubmissionWantsALogin) {
  StartSubmission();
  const auto client = Open();
  EXPECT_TRUE(Says(*client, "MAIL FROM:<alice@example.test>\r\n", "530 5.7.0"));
  EXPECT_TRUE(Says(*client, kAuthPlainWrong, "535 5.7.8"));
  EXPECT_TRUE(Says(*client, "MAIL FROM:<alice@example.test>\r\n", "530 5.7.0"));
  EXPECT_TRUE(submission_.enqueued().empty());
}

// R7, and the predecessor's loss of the login after the first message.
TEST_F(SessionTest, R7_SubmitsOverImplicitTlsMoreThanOnce) {
  listener_.set_implicit_tls(true);
  StartSubmission();
  const auto client = LoggedIn();
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(Envelope(*client, "stranger@elsewhere.test"));
    ASSERT_TRUE(Says(*client, "From: alice@example.test\r\n\r\nx\r\n.\r\n", "250 2.0.0 Accepted"));
  }
  const auto enqueued = submission_.enqueued();
  ASSERT_EQ(enqueued.size(), 2u);
  EXPECT_EQ(enqueued[0].header().token(), "token");
  EXPECT_EQ(enqueued[0].header().session_nonce().size(), 16u);
  EXPECT_EQ(enqueued[0].header().session_nonce(), authentication_.starts()[0].session_nonce());
  EXPECT_EQ(enqueued[0].header().recipients(0), "stranger@elsewhere.test");
  EXPECT_NE(enqueued[0].header().delivery_id(), enqueued[1].header().delivery_id());
  EXPECT_TRUE(absl::StrContains(enqueued[0].body(), "with ESMTPSA (TLSv1.3"));
  EXPECT_EQ(policy_.recipients_asked()[0].token(), "token");
  EXPECT_EQ(policy_.recipients_asked()[0].session_nonce(), enqueued[0].header().session_nonce());
}

TEST_F(SessionTest, LoginInSteps) {
  StartSubmission();
  const auto client = Open();
  EXPECT_TRUE(Says(*client, "AUTH LOGIN\r\n", "334 "));
  EXPECT_TRUE(Says(*client, "*\r\n", "501"));
  EXPECT_TRUE(Says(*client, "AUTH LOGIN\r\n", "334 "));
  EXPECT_TRUE(Says(*client, "YWxpY2VAZXhhbXBsZS50ZXN0\r\n", "334 "));
  EXPECT_TRUE(Says(*client, "c2VjcmV0\r\n", "235"));
}

TEST_F(SessionTest, R9_TheSenderMustBeTheUsers) {
  StartSubmission();
  const auto client = LoggedIn();
  EXPECT_TRUE(Says(*client, "MAIL FROM:<bob@example.test>\r\n", "550 5.7.1"));
  submission_.FailNext(absl::PermissionDeniedError("From is bob's"));
  ASSERT_TRUE(Envelope(*client, "bob@example.test"));
  EXPECT_TRUE(Says(*client, "From: bob@example.test\r\n\r\nx\r\n.\r\n", "550 5.7.1"));
}

TEST_F(SessionTest, AnOldTokenAsksForANewLogin) {
  StartSubmission();
  success_.set_expires_at(absl::ToUnixSeconds(setup_.clock() + absl::Seconds(5)));
  authentication_.AddAccount("alice@example.test", "secret", success_);
  const auto client = LoggedIn();
  EXPECT_TRUE(Says(*client, "MAIL FROM:<alice@example.test>\r\n", "421 4.7.0"));
  EXPECT_EQ(client->ReadToEnd(), "");
}

TEST_F(SessionTest, ATokenThatIsRefusedAsksForANewLogin) {
  StartSubmission();
  const auto client = LoggedIn();
  submission_.FailNext(absl::UnauthenticatedError("key gone"));
  ASSERT_TRUE(Envelope(*client, "alice@example.test"));
  EXPECT_TRUE(Says(*client, "x\r\n.\r\n", "421 4.7.0"));
  EXPECT_EQ(client->ReadToEnd(), "");
}

TEST_F(SessionTest, AnAwayServiceIsATemporaryFailure) {
  StartMx();
  policy_.FailNext(absl::UnavailableError("away"));
  TestClient refused(port_);
  EXPECT_TRUE(Says(refused, "", "421 4.3.0"));
  EXPECT_EQ(refused.ReadToEnd(), "");

  const auto client = Open();
  ASSERT_TRUE(Says(*client, "MAIL FROM:<x@elsewhere.test>\r\n", "250"));
  policy_.FailNext(absl::UnavailableError("away"));
  EXPECT_TRUE(Says(*client, "RCPT TO:<alice@example.test>\r\n", "451 4.3.0"));
  ASSERT_TRUE(Says(*client, "RCPT TO:<alice@example.test>\r\n", "250"));
  ASSERT_TRUE(Says(*client, "DATA\r\n", "354"));
  delivery_.FailNext(absl::UnavailableError("away"));
  EXPECT_TRUE(Says(*client, "x\r\n.\r\n", "451 4.3.0"));
  // The same session goes on.
  ASSERT_TRUE(Envelope(*client, "alice@example.test"));
  EXPECT_TRUE(Says(*client, "x\r\n.\r\n", "250 2.0.0"));
}

TEST_F(SessionTest, AnAwayAuthSvcIsATemporaryFailure) {
  StartSubmission();
  const auto client = Open();
  authentication_.FailNext(absl::UnavailableError("away"));
  EXPECT_TRUE(Says(*client, kAuthPlain, "454 4.7.0"));
  EXPECT_TRUE(Says(*client, kAuthPlain, "235"));
}

TEST_F(SessionTest, ARefusedNetworkIsToldAndMayOnlyQuit) {
  relay::v1::CheckConnectionResponse refused;
  refused.set_refusal(relay::v1::REFUSAL_CLIENT);
  policy_.SetConnection("127.0.0.1", refused);
  StartMx();
  TestClient client(port_);
  EXPECT_TRUE(Says(client, "", "554 5.7.1"));
  EXPECT_TRUE(Says(client, "EHLO me.test\r\n", "503"));
  EXPECT_TRUE(Says(client, "QUIT\r\n", "221"));
}

TEST_F(SessionTest, MessagesAreAskedAboutWhereTheyAreCounted) {
  relay::v1::CheckConnectionResponse accepted;
  accepted.set_messages_left(1);
  policy_.SetConnection("127.0.0.1", accepted);
  StartMx();
  TestClient client(port_);
  EXPECT_TRUE(Says(client, "", "220"));
  EXPECT_TRUE(Says(client, "EHLO me.test\r\n", "250"));
  EXPECT_TRUE(Says(client, "MAIL FROM:<carol@elsewhere.test>\r\n", "250"));
  EXPECT_TRUE(Says(client, "RSET\r\n", "250"));
  EXPECT_EQ(policy_.connections_asked(), 2);
  relay::v1::CheckConnectionResponse refused;
  refused.set_refusal(relay::v1::REFUSAL_CLIENT_TEMPORARY);
  refused.set_messages_left(0);
  policy_.SetConnection("127.0.0.1", refused);
  EXPECT_TRUE(Says(client, "MAIL FROM:<carol@elsewhere.test>\r\n", "450 4.7.1"));
  EXPECT_TRUE(Says(client, "RCPT TO:<alice@example.test>\r\n", "503"));
  policy_.SetConnection("127.0.0.1", accepted);
  EXPECT_TRUE(Says(client, "MAIL FROM:<carol@elsewhere.test>\r\n", "250"));
}

TEST_F(SessionTest, MessagesThatAreNotCountedAreNotAskedAbout) {
  StartMx();
  const auto client = Open();
  ASSERT_TRUE(Envelope(*client, "alice@example.test"));
  EXPECT_EQ(policy_.connections_asked(), 1);
}

std::string Much(size_t octets) {
  std::string body;
  for (int i = 0; body.size() < octets; ++i) absl::StrAppend(&body, "line ", i, " of many\r\n");
  return body;
}

// On both sides of the border between one request and a stream.
TEST_F(SessionTest, BodiesOfEverySizeArriveWhole) {
  StartMx();
  const auto client = Open();
  size_t expected = 0;
  for (const size_t octets : {10, 60 << 10, 250 << 10, 262 << 10, 3 << 20}) {
    for (const bool with_size : {false, true}) {
      const std::string body = "Subject: x\r\n\r\n" + Much(octets);
      ASSERT_TRUE(Says(*client,
                       absl::StrCat("MAIL FROM:<alice@example.test>",
                                    with_size ? absl::StrCat(" SIZE=", body.size()) : "", "\r\n"),
                       "250"));
      ASSERT_TRUE(Says(*client, "RCPT TO:<alice@example.test>\r\n", "250"));
      ASSERT_TRUE(Says(*client, "DATA\r\n", "354"));
      ASSERT_TRUE(Says(*client, body + ".\r\n", "250 2.0.0"));
      const auto delivered = delivery_.delivered();
      ASSERT_EQ(delivered.size(), ++expected);
      const std::string& got = delivered.back().body();
      EXPECT_TRUE(absl::StartsWith(got, "Received: from me.test"));
      EXPECT_TRUE(absl::EndsWith(got, " +0000\r\n" + body)) << octets;
    }
  }
}

// A header over several pieces is a stranger's to write; what ends here goes from all of it.
TEST_F(SessionTest, AHeaderLongerThanAPieceIsEditedToItsEnd) {
  StartMx();
  const auto client = Open();
  std::string sent;
  std::string kept;
  for (int i = 0; kept.size() < 700 << 10; ++i) {
    const std::string field = absl::StrCat("X-", i, ": x\r\n ", std::string(i % 200, 'y'), "\r\n");
    absl::StrAppend(&sent, field, "Bcc: a\r\n b\r\n");
    absl::StrAppend(&kept, field);
  }
  for (const std::string& body : {std::string(), "\r\nBcc: z\r\n" + Much(300 << 10)}) {
    ASSERT_TRUE(Envelope(*client, "alice@example.test"));
    ASSERT_TRUE(Says(*client, absl::StrCat(sent, body, ".\r\n"), "250 2.0.0"));
    EXPECT_TRUE(Behind(delivery_.delivered().back().body()) == kept + body);
  }
}

TEST_F(SessionTest, ABrokenStreamIsATemporaryFailureAndNoCommand) {
  HeldDeliveryClient stuck;
  setup_.delivery = &stuck;
  setup_.commit_timeout = std::chrono::seconds(0);
  StartMx();
  const auto client = Open();
  ASSERT_TRUE(Envelope(*client, "alice@example.test"));
  // The first write is never answered; the rest is swallowed, up to its end.
  ASSERT_TRUE(client->Send(Much(2 << 20)));
  EXPECT_TRUE(Says(*client, "QUIT\r\n.\r\n", "451 4.3.0"));
  EXPECT_TRUE(Says(*client, "NOOP\r\n", "250"));
}

TEST_F(SessionTest, TooLargeIsRefusedAndReadToItsEnd) {
  setup_.options.max_message_octets = 65536;
  StartMx();
  const auto client = Open();
  EXPECT_TRUE(Says(*client, "MAIL FROM:<> SIZE=65537\r\n", "552 5.3.4"));
  ASSERT_TRUE(Envelope(*client, "alice@example.test"));
  EXPECT_TRUE(Says(*client, Much(600 << 10) + "RSET\r\n.\r\n", "552 5.3.4"));
  EXPECT_TRUE(Says(*client, "NOOP\r\n", "250"));
  EXPECT_TRUE(delivery_.delivered().empty());
}

TEST_F(SessionTest, AClientThatGoesAwayDeliversNothing) {
  StartMx();
  {
    const auto client = Open();
    ASSERT_TRUE(Envelope(*client, "alice@example.test"));
    client->Send(Much(300 << 10));
  }
  gateway_->Drain(kLong);
  EXPECT_TRUE(delivery_.delivered().empty());
}

TEST_F(SessionTest, IdleTooLong) {
  listener_.set_idle_timeout_seconds(1);
  StartMx();
  const auto client = Open();
  EXPECT_TRUE(Says(*client, "", "421 4.4.2"));
  EXPECT_EQ(client->ReadToEnd(), "");
}

TEST_F(SessionTest, WhoSaysNoHelloIsClosed) {
  listener_.set_hello_timeout_seconds(1);
  StartMx();
  TestClient client(port_);
  ASSERT_TRUE(Says(client, "", "220"));
  // Not what it waits for.
  ASSERT_TRUE(Says(client, "NOOP\r\n", "250"));
  EXPECT_TRUE(Says(client, "", "421 4.4.2"));
  EXPECT_EQ(client.ReadToEnd(), "");
}

TEST_F(SessionTest, ASessionHasAnEndHoweverBusy) {
  listener_.set_session_timeout_seconds(1);
  StartMx();
  const auto client = Open();
  std::string reply = "250";
  // The engine ends it for too many commands that lead nowhere only after 100.
  for (int i = 0; i < 4 && absl::StartsWith(reply, "250"); ++i) {
    ASSERT_TRUE(Envelope(*client, "alice@example.test"));
    client->Send("x\r\n.\r\n");
    reply = client->ReadReply();
  }
  EXPECT_TRUE(Says(*client, "", "421 4.4.2"));
}

TEST_F(SessionTest, DrainAtACommandBoundary) {
  StartMx();
  const auto idle = Open();
  const auto between = Open();
  ASSERT_TRUE(Says(*between, "MAIL FROM:<>\r\n", "250"));
  gateway_->Drain(kLong);
  EXPECT_TRUE(Says(*idle, "", "421 4.3.2"));
  EXPECT_EQ(idle->ReadToEnd(), "");
  EXPECT_TRUE(Says(*between, "", "421 4.3.2"));
}

TEST_F(SessionTest, DrainLetsDataAndItsCommitFinish) {
  HeldDeliveryClient held;
  setup_.delivery = &held;
  StartMx();
  const auto client = Open();
  ASSERT_TRUE(Envelope(*client, "alice@example.test"));
  client->Send("first half\r\n");
  std::promise<void> drained;
  std::thread drain([&] {
    gateway_->Drain(kLong);
    drained.set_value();
  });
  client->Send("second half\r\n.\r\n");
  async::Done<store::v1::DeliverResponse> done = held.Asked();
  EXPECT_EQ(drained.get_future().wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  done(store::v1::DeliverResponse());
  EXPECT_TRUE(Says(*client, "", "250 2.0.0"));
  EXPECT_TRUE(Says(*client, "", "421 4.3.2"));
  EXPECT_EQ(client->ReadToEnd(), "");
  drain.join();
}

TEST_F(SessionTest, DrainCutsOffAMessageWithoutEnd) {
  StartMx();
  const auto client = Open();
  ASSERT_TRUE(Envelope(*client, "alice@example.test"));
  client->Send("half a message\r\n");
  gateway_->Drain(absl::Milliseconds(20));
  EXPECT_EQ(client->ReadToEnd(), "");
  EXPECT_TRUE(delivery_.delivered().empty());
}

TEST_F(SessionTest, TooBusy) {
  listener_.set_max_connections(1);
  StartMx();
  const auto client = Open();
  TestClient second(port_);
  EXPECT_EQ(second.ReadToEnd(), "421 4.3.2 busy\r\n");
  EXPECT_TRUE(Says(*client, "NOOP\r\n", "250"));
}

// A recipient that vanishes between RCPT and the end of DATA makes the whole transaction a 4xx.
TEST_F(SessionTest, ARecipientThatVanishedGetsNothing) {
  setup_.recipients_hold = std::chrono::seconds(0);
  StartMx();
  auto client = Open();
  ASSERT_TRUE(Says(*client, "MAIL FROM:<alice@example.test>\r\n", "250"));
  ASSERT_TRUE(Says(*client, "RCPT TO:<alice@example.test>\r\n", "250"));
  ASSERT_TRUE(Says(*client, "RCPT TO:<bob@example.test>\r\n", "250"));
  ASSERT_TRUE(Says(*client, "DATA\r\n", "354"));
  AddRecipient("bob@example.test", {"b"});
  EXPECT_TRUE(Says(*client, "still there\r\n.\r\n", "250"));
  EXPECT_EQ(delivery_.delivered().size(), 1u);

  relay::v1::CheckRecipientResponse gone;
  gone.set_refusal(relay::v1::REFUSAL_UNKNOWN_USER);
  for (const bool moved : {false, true}) {
    AddRecipient("bob@example.test", {"b"});
    ASSERT_TRUE(Says(*client, "MAIL FROM:<alice@example.test>\r\n", "250"));
    ASSERT_TRUE(Says(*client, "RCPT TO:<alice@example.test>\r\n", "250"));
    ASSERT_TRUE(Says(*client, "RCPT TO:<bob@example.test>\r\n", "250"));
    ASSERT_TRUE(Says(*client, "DATA\r\n", "354"));
    if (moved) {
      AddRecipient("bob@example.test", {"another"});
    } else {
      policy_.SetRecipient("bob@example.test", gone);
    }
    EXPECT_TRUE(Says(*client, "lost?\r\n.\r\n", "451 4.3.0"));
  }
  EXPECT_EQ(delivery_.delivered().size(), 1u) << "all or nothing";
}

// What one delivery can't hold is refused at RCPT, and the rest goes through.
// What leads elsewhere by the end of a long body is not delivered here alone.
TEST_F(SessionTest, ARecipientThatLeavesMeanwhileIsAskedForAgain) {
  setup_.recipients_hold = std::chrono::seconds(0);
  StartMx();
  const auto client = Open();
  ASSERT_TRUE(Envelope(*client, "alice@example.test"));
  relay::v1::CheckRecipientResponse leaves;
  leaves.set_forwards(1);
  leaves.add_mailboxes()->set_mailbox_id("a");
  policy_.SetRecipient("alice@example.test", leaves);
  ASSERT_TRUE(Says(*client, "x\r\n.\r\n", "451 4.3.0"));
  EXPECT_TRUE(delivery_.delivered().empty());
  ASSERT_TRUE(Envelope(*client, "alice@example.test"));
  ASSERT_TRUE(Says(*client, "x\r\n.\r\n", "250"));
  EXPECT_EQ(forwarding_.enqueued().size(), 1u);
}

TEST_F(SessionTest, OneMailboxTooManyIsRefusedForItself) {
  std::vector<std::string> many;
  for (int i = 0; i < 1000; ++i) many.push_back(absl::StrCat("m", i));
  AddRecipient("everyone@example.test", many);
  StartMx();
  const auto client = Open();
  ASSERT_TRUE(Says(*client, "MAIL FROM:<>\r\n", "250"));
  EXPECT_TRUE(Says(*client, "RCPT TO:<everyone@example.test>\r\n", "250"));
  EXPECT_TRUE(Says(*client, "RCPT TO:<alice@example.test>\r\n", "452 4.5.3"));
  ASSERT_TRUE(Says(*client, "DATA\r\n", "354"));
  EXPECT_TRUE(Says(*client, "x\r\n.\r\n", "250"));
  EXPECT_EQ(delivery_.delivered().at(0).header().recipients_size(), 1000);
  ASSERT_TRUE(Says(*client, "MAIL FROM:<>\r\n", "250"));
  EXPECT_TRUE(Says(*client, "RCPT TO:<alice@example.test>\r\n", "250"));
  EXPECT_TRUE(Says(*client, "RCPT TO:<everyone@example.test>\r\n", "452 4.5.3"));
}

TEST_F(SessionTest, OneMailboxTooManyIsRefusedOnSubmissionToo) {
  std::vector<std::string> many;
  for (int i = 0; i < 999; ++i) many.push_back(absl::StrCat("m", i));
  AddRecipient("everyone@example.test", many);
  StartSubmission();
  const auto client = LoggedIn();
  ASSERT_TRUE(Says(*client, "MAIL FROM:<alice@example.test>\r\n", "250"));
  EXPECT_TRUE(Says(*client, "RCPT TO:<everyone@example.test>\r\n", "250"));
  EXPECT_TRUE(Says(*client, "RCPT TO:<stranger@elsewhere.test>\r\n", "250"));
  EXPECT_TRUE(Says(*client, "RCPT TO:<alice@example.test>\r\n", "452 4.5.3"));
}

// What a message took is given back, not kept for the next.
TEST_F(SessionTest, AnIdleSessionHoldsNoBuffer) {
  OpenDeliveryClient open;
  setup_.delivery = &open;
  WithTls();
  listener_.set_implicit_tls(true);
  StartMx();
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 30; ++i) clients.push_back(Open());
  // Once for what is only made once.
  const std::string message = Much(60 << 10) + ".\r\n";
  const auto send = [&](TestClient& client) {
    return Envelope(client, "alice@example.test") && Says(client, message, "250");
  };
  ASSERT_TRUE(send(*clients[0]));
  const size_t before = mallinfo2().uordblks;
  for (size_t i = 1; i < clients.size(); ++i) ASSERT_TRUE(send(*clients[i]));
  const size_t after = mallinfo2().uordblks;
  // The client's end is in it too.
  EXPECT_LT(after, before + (clients.size() - 1) * (6 << 10));
}

}  // namespace
}  // namespace postern::gateway_smtp
