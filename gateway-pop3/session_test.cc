// Whole sessions on real sockets, with the services' fakes.
#include "gateway-pop3/session.h"

#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "services/clients/testing/fake_auth_client.h"
#include "services/clients/testing/fake_store_client.h"
#include "services/identity/test_pki.h"
#include "services/net/gateway.h"
#include "services/net/test_client.h"

namespace postern::gateway_pop3 {
namespace {

using net::TestClient;
using testing::AssertionFailure;
using testing::AssertionResult;
using testing::AssertionSuccess;

constexpr absl::Duration kLong = absl::Seconds(20);
// "\0alice@example.test\0secret"
constexpr char kAuthPlain[] = "AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=\r\n";

// auth-svc that never answers, but for an exchange's end.
class StuckAuthenticationClient : public clients::AuthenticationClient {
 public:
  void ListMechanisms(const rpc::CallContext&, auth::v1::ListMechanismsRequest,
                      async::Done<auth::v1::ListMechanismsResponse> done) override {
    done(absl::DeadlineExceededError("stuck"));
  }
  std::unique_ptr<clients::SaslExchange> Authenticate(const rpc::CallContext&) override {
    class Exchange : public clients::SaslExchange {
     public:
      ~Exchange() override {
        if (done_) done_(absl::CancelledError("destroyed"));
      }
      void Step(auth::v1::AuthenticateRequest,
                async::Done<auth::v1::AuthenticateResponse> done) override {
        done_ = std::move(done);
      }

     private:
      async::Done<auth::v1::AuthenticateResponse> done_;
    };
    return std::make_unique<Exchange>();
  }
};

class SessionTest : public testing::Test {
 protected:
  SessionTest()
      : pki_(absl::StrCat(testing::TempDir(), "/",
                          testing::UnitTest::GetInstance()->current_test_info()->name())) {
    const config::v1::MutualTls files = pki_.Issue("mail.example.test", {});
    config::v1::SecurityDomain* domain = domains_.Add();
    domain->set_name("public");
    domain->set_certificate_file(files.certificate_file());
    domain->set_private_key_file(files.private_key_file());

    auth::v1::AuthenticateResponse::Success success;
    success.set_token("token");
    success.set_address("alice@example.test");
    authentication_.AddAccount("alice@example.test", "secret", success);
    maildrops_.AddMaildrop("token", 7, {{3, "Subject: a\r\n\r\n.dot\r\n"}, {5, "b\r\n"}});
    for (SessionSetup* setup : {&pop3_, &pop3s_}) {
      setup->options.hostname = "mail.example.test";
      setup->authentication = &authentication_;
      setup->mechanisms = &mechanisms_;
      setup->maildrops = &maildrops_;
    }
    pop3_.options.stls = true;
    pop3s_.options.implicit_tls = true;
  }

  void Start() {
    auto profiles = net::LoadSecurityDomains(domains_);
    ASSERT_TRUE(profiles.ok()) << profiles.status();
    std::vector<net::GatewayListener> listeners(2);
    listeners[0].config.set_name("pop3");
    listeners[0].config.set_tls_enabled(true);
    listeners[0].run = [this](net::SessionContext context) {
      return RunSession(std::move(context), &pop3_);
    };
    listeners[1].config.set_name("pop3s");
    listeners[1].config.set_implicit_tls(true);
    listeners[1].run = [this](net::SessionContext context) {
      return RunSession(std::move(context), &pop3s_);
    };
    for (net::GatewayListener& listener : listeners) {
      listener.config.set_security_domain("public");
      if (hello_seconds_ > 0) listener.config.set_hello_timeout_seconds(hello_seconds_);
      if (idle_seconds_ > 0) listener.config.set_idle_timeout_seconds(idle_seconds_);
      listener.too_busy = "-ERR [SYS/TEMP] busy\r\n";
    }
    auto gateway = net::Gateway::Start(std::move(listeners), *profiles, 2);
    ASSERT_TRUE(gateway.ok()) << gateway.status();
    gateway_ = *std::move(gateway);
  }

  // Sends a command and compares the answer's first line.
  static AssertionResult Says(TestClient& client, const std::string& command,
                              const std::string& answer) {
    client.Send(command);
    const std::string got = client.ReadLine();
    if (absl::StartsWith(got, answer)) return AssertionSuccess();
    return AssertionFailure() << command << " was answered by \"" << got << "\", not " << answer;
  }
  static std::string ReadLines(TestClient& client) {
    std::string lines;
    while (true) {
      const std::string line = client.ReadLine();
      lines += line;
      if (line.empty() || line == ".\r\n") return lines;
    }
  }

  std::unique_ptr<TestClient> OpenPop3s() {
    auto client = std::make_unique<TestClient>(gateway_->Ports().at("pop3s"));
    EXPECT_TRUE(client->StartTls());
    EXPECT_TRUE(Says(*client, "", "+OK mail.example.test"));
    return client;
  }
  std::unique_ptr<TestClient> LoggedIn() {
    auto client = OpenPop3s();
    EXPECT_TRUE(Says(*client, kAuthPlain, "+OK"));
    return client;
  }

  identity::TestPki pki_;
  google::protobuf::RepeatedPtrField<config::v1::SecurityDomain> domains_;
  clients::FakeAuthenticationClient authentication_;
  net::OfferedMechanisms mechanisms_{&authentication_, "mail.example.test"};
  clients::FakeMaildropClient maildrops_;
  SessionSetup pop3_;
  SessionSetup pop3s_;
  int idle_seconds_ = 0;
  int hello_seconds_ = 0;
  // First to go.
  std::unique_ptr<net::Gateway> gateway_;
};

TEST_F(SessionTest, FetchesAndDeletesOverImplicitTls) {
  Start();
  const auto client = OpenPop3s();
  EXPECT_TRUE(Says(*client, "USER alice@example.test\r\n", "+OK"));
  EXPECT_TRUE(Says(*client, "PASS secret\r\n", "+OK Maildrop has 2 messages (23 octets)"));
  EXPECT_TRUE(Says(*client, "LIST\r\n", "+OK"));
  EXPECT_EQ(ReadLines(*client), "1 20\r\n2 3\r\n.\r\n");
  EXPECT_TRUE(Says(*client, "UIDL 2\r\n", "+OK 2 000000075"));
  EXPECT_TRUE(Says(*client, "RETR 1\r\n", "+OK 20 octets"));
  EXPECT_EQ(ReadLines(*client), "Subject: a\r\n\r\n..dot\r\n.\r\n");
  EXPECT_TRUE(Says(*client, "TOP 1 0\r\n", "+OK"));
  EXPECT_EQ(ReadLines(*client), "Subject: a\r\n\r\n.\r\n");
  EXPECT_TRUE(Says(*client, "DELE 1\r\n", "+OK"));
  EXPECT_TRUE(Says(*client, "QUIT\r\n", "+OK"));
  EXPECT_EQ(client->ReadToEnd(), "");
  EXPECT_EQ(maildrops_.Uids("token"), std::vector<uint64_t>{5});
  EXPECT_FALSE(maildrops_.IsOpen("token"));
  ASSERT_EQ(authentication_.starts().size(), 1u);
  EXPECT_EQ(authentication_.starts()[0].purpose(), auth::v1::PURPOSE_MAILDROP);
  EXPECT_EQ(authentication_.starts()[0].client_address(), "127.0.0.1");
  EXPECT_EQ(authentication_.starts()[0].session_nonce().size(), 16u);
}

// R8
TEST_F(SessionTest, StlsComesBeforeCredentials) {
  Start();
  TestClient client(gateway_->Ports().at("pop3"));
  EXPECT_TRUE(Says(client, "", "+OK mail.example.test"));
  EXPECT_TRUE(Says(client, "USER alice@example.test\r\n", "-ERR"));
  EXPECT_TRUE(Says(client, "PASS secret\r\n", "-ERR"));
  EXPECT_TRUE(Says(client, kAuthPlain, "-ERR"));
  EXPECT_TRUE(authentication_.starts().empty());
  EXPECT_TRUE(Says(client, "STLS\r\n", "+OK"));
  ASSERT_TRUE(client.StartTls());
  EXPECT_TRUE(Says(client, kAuthPlain, "+OK"));
  EXPECT_TRUE(Says(client, "QUIT\r\n", "+OK"));
}

TEST_F(SessionTest, LoginStepByStep) {
  Start();
  const auto client = OpenPop3s();
  EXPECT_TRUE(Says(*client, "AUTH LOGIN\r\n", "+ VXNlcm5hbWU6"));
  EXPECT_TRUE(Says(*client, "*\r\n", "-ERR"));
  EXPECT_TRUE(Says(*client, "AUTH LOGIN\r\n", "+ VXNlcm5hbWU6"));
  EXPECT_TRUE(Says(*client, "YWxpY2VAZXhhbXBsZS50ZXN0\r\n", "+ UGFzc3dvcmQ6"));
  EXPECT_TRUE(Says(*client, "c2VjcmV0\r\n", "+OK"));
}

TEST_F(SessionTest, WrongPasswordsEndTheSession) {
  Start();
  const auto client = OpenPop3s();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(Says(*client, "USER alice@example.test\r\n", "+OK"));
    EXPECT_TRUE(Says(*client, "PASS wrong\r\n", "-ERR [AUTH]"));
  }
  EXPECT_EQ(client->ReadToEnd(), "");
}

TEST_F(SessionTest, FailuresAreToldAsWhatTheyAre) {
  Start();
  const auto client = OpenPop3s();
  authentication_.FailNext(absl::UnavailableError("secret words"));
  EXPECT_TRUE(Says(*client, kAuthPlain, "-ERR [SYS/TEMP] Temporary failure"));
  maildrops_.FailNextOpen(absl::UnavailableError("secret words"));
  EXPECT_TRUE(Says(*client, kAuthPlain, "-ERR [SYS/TEMP]"));
  EXPECT_TRUE(Says(*client, kAuthPlain, "+OK"));
  maildrops_.FailNextRetrieve(absl::UnavailableError("secret words"));
  EXPECT_TRUE(Says(*client, "RETR 1\r\n", "-ERR [SYS/TEMP]"));
  maildrops_.FailNextRetrieve(absl::NotFoundError("secret words"));
  EXPECT_TRUE(Says(*client, "RETR 1\r\n", "-ERR [SYS/PERM]"));
  EXPECT_TRUE(Says(*client, "RETR 2\r\n", "+OK 3 octets"));
  EXPECT_EQ(ReadLines(*client), "b\r\n.\r\n");
  EXPECT_TRUE(Says(*client, "DELE 1\r\n", "+OK"));
  maildrops_.FailNextCommit(absl::FailedPreconditionError("secret words"));
  EXPECT_TRUE(Says(*client, "QUIT\r\n", "-ERR [SYS/TEMP]"));
  EXPECT_EQ(client->ReadToEnd(), "");
  EXPECT_TRUE(maildrops_.WaitUntilClosed("token"));
  EXPECT_EQ(maildrops_.Uids("token").size(), 2u);
}

TEST_F(SessionTest, AServiceThatDoesNotAnswer) {
  StuckAuthenticationClient stuck;
  pop3s_.authentication = &stuck;
  pop3s_.question_timeout = std::chrono::seconds(1);
  Start();
  const auto client = OpenPop3s();
  EXPECT_TRUE(Says(*client, kAuthPlain, "-ERR [SYS/TEMP]"));
  EXPECT_TRUE(Says(*client, "QUIT\r\n", "+OK"));
  client->ReadToEnd();
  gateway_->Drain(kLong);
}

// The predecessor had no lock on the maildrop.
TEST_F(SessionTest, ASecondSessionIsToldInUse) {
  Start();
  const auto first = LoggedIn();
  const auto second = OpenPop3s();
  EXPECT_TRUE(Says(*second, kAuthPlain, "-ERR [IN-USE]"));
  EXPECT_TRUE(Says(*first, "QUIT\r\n", "+OK"));
  // At once.
  EXPECT_TRUE(Says(*second, kAuthPlain, "+OK"));
}

// The predecessor committed deletions when the connection was dropped.
TEST_F(SessionTest, ADroppedConnectionDeletesNothingAndFreesTheMaildrop) {
  Start();
  {
    const auto client = LoggedIn();
    EXPECT_TRUE(Says(*client, "DELE 1\r\n", "+OK"));
  }
  EXPECT_TRUE(maildrops_.WaitUntilClosed("token"));
  EXPECT_EQ(maildrops_.Uids("token").size(), 2u);
}

TEST_F(SessionTest, AnIdleClientIsDisconnectedWithoutDeleting) {
  idle_seconds_ = 1;
  Start();
  const auto client = LoggedIn();
  EXPECT_TRUE(Says(*client, "DELE 1\r\n", "+OK"));
  EXPECT_EQ(client->ReadToEnd(), "");
  EXPECT_TRUE(maildrops_.WaitUntilClosed("token"));
  EXPECT_EQ(maildrops_.Uids("token").size(), 2u);
}

TEST_F(SessionTest, WhoDoesNotBeginToLogInIsClosed) {
  hello_seconds_ = 1;
  Start();
  TestClient client(gateway_->Ports().at("pop3"));
  EXPECT_TRUE(Says(client, "", "+OK"));
  EXPECT_TRUE(Says(client, "CAPA\r\n", "+OK"));
  const std::string rest = client.ReadToEnd();
  EXPECT_TRUE(absl::EndsWith(rest, "\r\n.\r\n")) << rest;
}

TEST_F(SessionTest, DrainTellsIdleSessionsAndDeletesNothing) {
  Start();
  const auto client = LoggedIn();
  EXPECT_TRUE(Says(*client, "DELE 1\r\n", "+OK"));
  std::thread drain([this] { gateway_->Drain(kLong); });
  EXPECT_EQ(client->ReadToEnd(),
            "-ERR [SYS/TEMP] The server is going down, come back in a moment\r\n");
  drain.join();
  EXPECT_EQ(maildrops_.Uids("token").size(), 2u);
  EXPECT_FALSE(maildrops_.IsOpen("token"));
}

// A message of 40 MiB: as many pieces are fetched as the client takes, not all at once.
TEST_F(SessionTest, ALargeMessageIsFetchedAsItIsTaken) {
  constexpr size_t kOctets = 40 << 20;
  std::string message;
  message.reserve(kOctets);
  const std::string line = std::string(62, 'x') + "\r\n";
  while (message.size() < kOctets) message += line;
  maildrops_.AddMaildrop("token", 7, {{1, message}});
  maildrops_.SetPieceOctets(256 << 10);
  Start();
  const auto client = LoggedIn();
  EXPECT_TRUE(Says(*client, "RETR 1\r\n", absl::StrCat("+OK ", kOctets, " octets")));
  // The client takes nothing but that line's segment: what has been fetched stands in the sockets.
  // Loopback's buffers grow to some MiB; far from all of it.
  EXPECT_TRUE(Says(*client, "", line));
  EXPECT_LT(maildrops_.pieces(), (kOctets >> 18) / 2);
  EXPECT_TRUE(client->Read(kOctets - line.size()) == message.substr(line.size()));
  EXPECT_EQ(client->ReadLine(), ".\r\n");
  EXPECT_EQ(maildrops_.pieces(), kOctets >> 18);
  EXPECT_TRUE(Says(*client, "QUIT\r\n", "+OK"));
}

TEST_F(SessionTest, PipelinedCommands) {
  Start();
  const auto client = OpenPop3s();
  client->Send(
      absl::StrCat(kAuthPlain, "RETR 1\r\nDELE 1\r\nRETR 2\r\nDELE 2\r\nSTAT\r\nQUIT\r\n"));
  EXPECT_EQ(client->ReadToEnd(),
            "+OK Maildrop has 2 messages (23 octets)\r\n"
            "+OK 20 octets\r\nSubject: a\r\n\r\n..dot\r\n.\r\n"
            "+OK Message 1 deleted\r\n"
            "+OK 3 octets\r\nb\r\n.\r\n"
            "+OK Message 2 deleted\r\n"
            "+OK 0 0\r\n"
            "+OK Goodbye\r\n");
  EXPECT_TRUE(maildrops_.Uids("token").empty());
}

// The predecessor's thread pool was full with ten clients.
TEST_F(SessionTest, ManySessionsAtOnce) {
  Start();
  std::vector<std::unique_ptr<TestClient>> idle;
  for (int i = 0; i < 100; ++i) {
    idle.push_back(std::make_unique<TestClient>(gateway_->Ports().at("pop3")));
    EXPECT_TRUE(Says(*idle.back(), "", "+OK"));
  }
  const auto client = LoggedIn();
  EXPECT_TRUE(Says(*client, "STAT\r\n", "+OK 2 23"));
  for (const auto& other : idle) EXPECT_TRUE(Says(*other, "CAPA\r\n", "+OK"));
}

}  // namespace
}  // namespace postern::gateway_pop3
