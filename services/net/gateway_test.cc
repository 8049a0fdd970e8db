// Connection, TlsProfile, Await and Gateway on real sockets.
#include "services/net/gateway.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "openssl/ssl.h"
#include "services/async/await.h"
#include "services/identity/test_pki.h"
#include "services/net/test_client.h"
#include "services/telemetry/metrics.h"

namespace postern::net {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr absl::Duration kLong = absl::Seconds(20);

config::v1::Listener PlainListener() {
  config::v1::Listener listener;
  listener.set_name("plain");
  return listener;
}

// What the peer sends, until it ends; then the status's name.
asio::awaitable<void> Echo(SessionContext context) {
  while (true) {
    const absl::Span<char> buffer = ThreadReadBuffer();
    const absl::StatusOr<size_t> got =
        co_await context.connection->ReadSome(buffer, steady_clock::now() + context.idle_timeout);
    std::string answer = got.ok()
                             ? std::string(buffer.data(), *got)
                             : absl::StrCat(absl::StatusCodeToString(got.status().code()), "\r\n");
    const absl::Status sent =
        co_await context.connection->Write(answer, steady_clock::now() + context.idle_timeout);
    if (!got.ok() || !sent.ok()) co_return;
  }
}

// STARTTLS at the first line, then as Echo.
asio::awaitable<void> EchoOverTls(SessionContext context) {
  const Deadline deadline = steady_clock::now() + context.idle_timeout;
  const absl::Status status = co_await context.connection->StartTls(context.tls, deadline);
  if (!status.ok()) co_return;
  const std::string description = absl::StrCat(context.connection->tls_description(), "\r\n");
  (void)co_await context.connection->Write(description, deadline);
  co_await Echo(std::move(context));
}

class GatewayTest : public testing::Test {
 protected:
  GatewayTest()
      : pki_(absl::StrCat(testing::TempDir(), "/",
                          testing::UnitTest::GetInstance()->current_test_info()->name())) {
    const config::v1::MutualTls files = pki_.Issue("mail.test", {});
    config::v1::SecurityDomain* domain = domains_.Add();
    domain->set_name("public");
    domain->set_certificate_file(files.certificate_file());
    domain->set_private_key_file(files.private_key_file());
  }

  absl::StatusOr<std::unique_ptr<Gateway>> Start(config::v1::Listener config, SessionFunction run,
                                                 int threads = 1) {
    auto profiles = LoadSecurityDomains(domains_);
    if (!profiles.ok()) return profiles.status();
    std::vector<GatewayListener> listeners;
    listeners.push_back({std::move(config), std::move(run), "421 busy\r\n"});
    return Gateway::Start(std::move(listeners), *profiles, threads);
  }
  // Starts, or fails the test.
  std::unique_ptr<Gateway> Started(config::v1::Listener config, SessionFunction run,
                                   int threads = 1) {
    auto gateway = Start(config, std::move(run), threads);
    EXPECT_TRUE(gateway.ok()) << gateway.status();
    port_ = (*gateway)->Ports().at(config.name());
    return *std::move(gateway);
  }
  config::v1::Listener TlsListener(bool implicit) {
    config::v1::Listener listener = PlainListener();
    listener.set_name("tls");
    listener.set_security_domain("public");
    implicit ? listener.set_implicit_tls(true) : listener.set_tls_enabled(true);
    return listener;
  }

  identity::TestPki pki_;
  google::protobuf::RepeatedPtrField<config::v1::SecurityDomain> domains_;
  int port_ = 0;
};

TEST_F(GatewayTest, EchoesInPlainOverManyLoops) {
  const auto gateway = Started(PlainListener(), &Echo, 3);
  for (int i = 0; i < 30; ++i) {
    TestClient client(port_);
    ASSERT_TRUE(client.Send("hello\r\n"));
    EXPECT_EQ(client.ReadLine(), "hello\r\n");
    client.FinishSending();
    EXPECT_EQ(client.ReadToEnd(), "OUT_OF_RANGE\r\n");
  }
}

// Says who the client is, then as Echo.
asio::awaitable<void> EchoPeer(SessionContext context) {
  const std::string peer = absl::StrCat(context.connection->peer_address(), "\r\n");
  (void)co_await context.connection->Write(peer, steady_clock::now() + context.idle_timeout);
  co_await Echo(std::move(context));
}

std::string ProxyV2(char command, absl::string_view addresses) {
  std::string octets("\r\n\r\n\0\r\nQUIT\n", 12);
  octets += command;
  octets += '\x11';
  octets += '\0';
  octets += static_cast<char>(addresses.size());
  return octets.append(addresses.data(), addresses.size());
}

const std::string kFrom192 =
    ProxyV2('\x21', absl::string_view("\xc0\x00\x02\x01\xc6\x33\x64\x02\x30\x39\x00\x19", 12));

TEST_F(GatewayTest, ABalancerSaysWhoTheClientIs) {
  config::v1::Listener listener = PlainListener();
  listener.add_proxy_networks("192.0.2.0/24");
  listener.add_proxy_networks("127.0.0.0/8");
  const auto gateway = Started(listener, &EchoPeer);
  const struct {
    std::string header;
    const char* peer;
  } kCases[] = {
      {"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\n", "192.0.2.1\r\n"},
      {"PROXY TCP6 2001:db8::1 2001:db8::2 12345 25\r\n", "2001:db8::1\r\n"},
      {kFrom192, "192.0.2.1\r\n"},
      // A health check.
      {"PROXY UNKNOWN\r\n", "127.0.0.1\r\n"},
      {ProxyV2('\x20', ""), "127.0.0.1\r\n"},
  };
  for (const auto& c : kCases) {
    {
      // With the client's first octets, which stay the client's.
      TestClient client(port_);
      ASSERT_TRUE(client.Send(c.header + "hello\r\n"));
      EXPECT_EQ(client.ReadLine(), c.peer);
      EXPECT_EQ(client.ReadLine(), "hello\r\n");
    }
    TestClient client(port_);
    for (const char octet : c.header) ASSERT_TRUE(client.Send(std::string(1, octet)));
    EXPECT_EQ(client.ReadLine(), c.peer);
  }
}

TEST_F(GatewayTest, ABalancersClientsTlsComesBehindTheHeader) {
  config::v1::Listener listener = TlsListener(/*implicit=*/true);
  listener.add_proxy_networks("127.0.0.1");
  const auto gateway = Started(listener, &EchoPeer);
  for (const std::string& header :
       {std::string("PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\n"), kFrom192}) {
    TestClient client(port_);
    ASSERT_TRUE(client.Send(header));
    ASSERT_TRUE(client.StartTls());
    EXPECT_EQ(client.ReadLine(), "192.0.2.1\r\n");
  }
}

TEST_F(GatewayTest, ABalancerWithoutAHeaderIsDropped) {
  config::v1::Listener listener = PlainListener();
  listener.add_proxy_networks("127.0.0.1");
  const auto gateway = Started(listener, &EchoPeer);
  for (const std::string& octets :
       {std::string("EHLO me.test\r\n"), std::string("PROXY TCP4 nobody 198.51.100.2 1 25\r\n"),
        std::string("PROXY ") + std::string(200, 'x'), ProxyV2('\x25', "")}) {
    TestClient client(port_);
    ASSERT_TRUE(client.Send(octets));
    EXPECT_EQ(client.ReadToEnd(), "") << octets;
  }
  EXPECT_TRUE(absl::StrContains(
      telemetry::RenderMetrics(),
      "postern_connections_total{listener=\"plain\",outcome=\"no_proxy_header\"} 4\n"));
}

TEST_F(GatewayTest, ClientsBehindABalancerHaveTheirOwnLimits) {
  config::v1::Listener listener = PlainListener();
  listener.add_proxy_networks("127.0.0.1");
  listener.set_max_connections_per_client(1);
  const auto gateway = Started(listener, &EchoPeer);
  const auto header = [](int client) {
    return absl::StrCat("PROXY TCP4 192.0.2.", client, " 198.51.100.2 12345 25\r\n");
  };
  TestClient one(port_);
  TestClient other(port_);
  TestClient again(port_);
  ASSERT_TRUE(one.Send(header(1)));
  EXPECT_EQ(one.ReadLine(), "192.0.2.1\r\n");
  ASSERT_TRUE(other.Send(header(2)));
  EXPECT_EQ(other.ReadLine(), "192.0.2.2\r\n");
  ASSERT_TRUE(again.Send(header(1)));
  EXPECT_EQ(again.ReadToEnd(), "421 busy\r\n");
}

TEST_F(GatewayTest, StartsTlsOfBothVersions) {
  const auto gateway = Started(TlsListener(false), &EchoOverTls);
  const struct {
    int version;
    const char* name;
  } kVersions[] = {{TLS1_2_VERSION, "TLSv1.2 ECDHE-"}, {TLS1_3_VERSION, "TLSv1.3 TLS_"}};
  for (const auto& version : kVersions) {
    TestClient client(port_);
    ASSERT_TRUE(client.StartTls(version.version)) << version.name;
    EXPECT_TRUE(absl::StartsWith(client.ReadLine(), version.name));
    ASSERT_TRUE(client.Send("hello\r\n"));
    EXPECT_EQ(client.ReadLine(), "hello\r\n");
  }
}

TEST_F(GatewayTest, RefusesWeakTls) {
  const auto gateway = Started(TlsListener(true), &Echo);
  EXPECT_FALSE(TestClient(port_).StartTls(TLS1_1_VERSION));
  EXPECT_FALSE(TestClient(port_).StartTls(TLS1_2_VERSION, "AES256-GCM-SHA384"));
  EXPECT_FALSE(TestClient(port_).StartTls(TLS1_2_VERSION, "ECDHE-ECDSA-AES256-SHA"));
  EXPECT_TRUE(TestClient(port_).StartTls(TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256"));
}

TEST_F(GatewayTest, ImplicitTlsIsSecureFromTheFirstOctet) {
  const auto gateway =
      Started(TlsListener(true), [](SessionContext context) -> asio::awaitable<void> {
        return [](SessionContext session) -> asio::awaitable<void> {
          const std::string words = session.connection->secure() ? "secure\r\n" : "plain\r\n";
          (void)co_await session.connection->Write(words, session.session_deadline);
        }(std::move(context));
      });
  TestClient client(port_);
  ASSERT_TRUE(client.StartTls());
  EXPECT_EQ(client.ReadToEnd(), "secure\r\n");
  TestClient plain(port_);
  plain.Send("EHLO me\r\n");
  EXPECT_FALSE(absl::StrContains(plain.ReadToEnd(), "plain"));
}

// The kernel's buffers fill: Write waits, and loses nothing.
asio::awaitable<void> SendMuch(SessionContext context) {
  if (context.tls != nullptr) {
    const absl::Status status =
        co_await context.connection->StartTls(context.tls, context.session_deadline);
    if (!status.ok()) co_return;
  }
  const std::string much(8 << 20, 'x');
  (void)co_await context.connection->Write(much, context.session_deadline);
}

TEST_F(GatewayTest, WritesMoreThanTheKernelHolds) {
  for (const bool tls : {false, true}) {
    const auto gateway = Started(tls ? TlsListener(false) : PlainListener(), &SendMuch);
    TestClient client(port_);
    ASSERT_TRUE(!tls || client.StartTls());
    EXPECT_EQ(client.ReadToEnd(), std::string(8 << 20, 'x'));
  }
}

TEST_F(GatewayTest, EchoesMuchOverTls) {
  const auto gateway = Started(TlsListener(false), &EchoOverTls);
  TestClient client(port_);
  ASSERT_TRUE(client.StartTls());
  client.ReadLine();
  std::string much;
  for (int i = 0; much.size() < (1 << 20); ++i) absl::StrAppend(&much, i, ",");
  for (size_t at = 0; at < much.size(); at += 100000) {
    const std::string piece = much.substr(at, 100000);
    ASSERT_TRUE(client.Send(piece));
    ASSERT_EQ(client.Read(piece.size()), piece);
  }
}

// Deadlines that come sooner and later than the ones before them.
asio::awaitable<void> WaitTwice(SessionContext context) {
  Connection& connection = *context.connection;
  const Deadline later = steady_clock::now() + std::chrono::hours(1);
  const Deadline soon = steady_clock::now() + milliseconds(30);
  const Deadline sooner = steady_clock::now() + milliseconds(10);
  std::string words;
  char octet;
  absl::Status status = co_await connection.WaitReadable(later);
  absl::StrAppend(&words, status.ok() ? "ready " : "not ready ");
  (void)co_await connection.Read(absl::MakeSpan(&octet, 1), later);
  status = co_await connection.WaitReadable(soon);
  absl::StrAppend(&words, absl::IsDeadlineExceeded(status), steady_clock::now() >= soon);
  // It has passed.
  status = co_await connection.WaitReadable(sooner);
  absl::StrAppend(&words, absl::IsDeadlineExceeded(status));
  const auto got =
      co_await connection.ReadSome(ThreadReadBuffer(), steady_clock::now() + milliseconds(5));
  absl::StrAppend(&words, absl::IsDeadlineExceeded(got.status()), "\r\n");
  (void)co_await connection.Write(words, later);
}

TEST_F(GatewayTest, EveryWaitHasItsOwnDeadline) {
  const auto gateway = Started(PlainListener(), &WaitTwice);
  TestClient client(port_);
  client.Send("x");
  EXPECT_EQ(client.ReadToEnd(), "ready 1111\r\n");
}

TEST_F(GatewayTest, ASlowHandshakeEnds) {
  config::v1::Listener listener = TlsListener(true);
  listener.set_idle_timeout_seconds(1);
  const auto gateway = Started(listener, &Echo);
  TestClient client(port_);
  client.Send("\x16\x03\x01");
  EXPECT_EQ(client.ReadToEnd(), "");
}

asio::awaitable<void> SayGoodbyeUnread(SessionContext context) {
  // Something is there, and more will come.
  (void)co_await context.connection->WaitReadable(context.session_deadline);
  (void)co_await context.connection->Write("goodbye\r\n", context.session_deadline);
}

// A reset could overtake the last words.
TEST_F(GatewayTest, ClosingWithUnreadInputIsNoReset) {
  const auto gateway = Started(PlainListener(), &SayGoodbyeUnread);
  TestClient client(port_);
  const std::string much(512 << 10, 'x');
  ASSERT_TRUE(client.Send(much));
  EXPECT_EQ(client.ReadToEnd(), "goodbye\r\n");
  EXPECT_FALSE(client.reset());
}

TEST_F(GatewayTest, TooManyConnectionsAreToldSo) {
  config::v1::Listener listener = PlainListener();
  listener.set_max_connections(2);
  const auto gateway = Started(listener, &Echo, 2);
  TestClient first(port_);
  auto second = std::make_unique<TestClient>(port_);
  first.Send("a\r\n");
  second->Send("b\r\n");
  EXPECT_EQ(first.ReadLine(), "a\r\n");
  EXPECT_EQ(second->ReadLine(), "b\r\n");
  EXPECT_EQ(TestClient(port_).ReadToEnd(), "421 busy\r\n");
  second->FinishSending();
  EXPECT_EQ(second->ReadToEnd(), "OUT_OF_RANGE\r\n");
  // The place is free once the session is over, which comes after its last octet.
  std::string answer;
  while (answer != "c\r\n") {
    TestClient third(port_);
    third.Send("c\r\n");
    answer = third.ReadLine();
    ASSERT_TRUE(answer == "c\r\n" || answer == "421 busy\r\n" || answer.empty()) << answer;
  }
}

TEST_F(GatewayTest, OneClientHasItsOwnLimit) {
  config::v1::Listener listener = PlainListener();
  listener.set_address("0.0.0.0");
  listener.set_max_connections_per_client(1);
  const auto gateway = Started(listener, &Echo, 2);
  TestClient first(port_);
  first.Send("a\r\n");
  EXPECT_EQ(first.ReadLine(), "a\r\n");
  EXPECT_EQ(TestClient(port_).ReadToEnd(), "421 busy\r\n");
}

// The kernel's limit on descriptors, as long as this lives.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t soft) {
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
    rlimit limit = before_;
    limit.rlim_cur = soft;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  }
  ~DescriptorLimit() { EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before_), 0); }

 private:
  rlimit before_{};
};

// Connections leave descriptors for what the process itself needs: the next one is told so.
TEST_F(GatewayTest, ConnectionsDontTakeTheLastDescriptor) {
  const DescriptorLimit limit(128 + 5);
  const auto gateway = Started(PlainListener(), &Echo, 2);
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(std::make_unique<TestClient>(port_));
    clients.back()->Send("a\r\n");
    EXPECT_EQ(clients.back()->ReadLine(), "a\r\n");
  }
  EXPECT_EQ(TestClient(port_).ReadToEnd(), "421 busy\r\n");
}

TEST_F(GatewayTest, AHandshakeHasItsTime) {
  config::v1::Listener listener = TlsListener(true);
  listener.set_hello_timeout_seconds(1);
  const auto gateway = Started(listener, &Echo);
  EXPECT_EQ(TestClient(port_).ReadToEnd(), "");
}

TEST_F(GatewayTest, DrainInterruptsTheIdleAndTakesNoMore) {
  const auto gateway = Started(PlainListener(), &Echo, 2);
  std::vector<std::unique_ptr<TestClient>> idle;
  for (int i = 0; i < 10; ++i) {
    idle.push_back(std::make_unique<TestClient>(port_));
    idle.back()->Send("a\r\n");
    ASSERT_EQ(idle.back()->ReadLine(), "a\r\n");
  }
  gateway->Drain(kLong);
  for (const auto& client : idle) EXPECT_EQ(client->ReadToEnd(), "CANCELLED\r\n");
  EXPECT_FALSE(TestClient(port_).connected());
}

// Reads one line more when it is interrupted, as a session within a message.
asio::awaitable<void> FinishFirst(SessionContext context) {
  Connection& connection = *context.connection;
  (void)co_await connection.Write("begun\r\n", context.session_deadline);
  auto got = co_await connection.ReadSome(ThreadReadBuffer(), context.session_deadline);
  if (absl::IsCancelled(got.status())) {
    (void)co_await connection.Write(context.draining() ? "go on\r\n" : "?",
                                    context.session_deadline);
    connection.ClearInterrupt();
    got = co_await connection.ReadSome(ThreadReadBuffer(), context.session_deadline);
  }
  const std::string words =
      got.ok() ? "done\r\n" : absl::StrCat(absl::StatusCodeToString(got.status().code()), "\r\n");
  (void)co_await connection.Write(words, context.session_deadline);
}

TEST_F(GatewayTest, DrainLetsRunningWorkFinish) {
  const auto gateway = Started(PlainListener(), &FinishFirst);
  TestClient client(port_);
  ASSERT_EQ(client.ReadLine(), "begun\r\n");
  std::thread drain([&] { gateway->Drain(kLong); });
  ASSERT_EQ(client.ReadLine(), "go on\r\n");
  client.Send("the rest\r\n");
  EXPECT_EQ(client.ReadToEnd(), "done\r\n");
  drain.join();
}

TEST_F(GatewayTest, DrainCutsOffAfterTheGrace) {
  const auto gateway = Started(PlainListener(), &FinishFirst);
  TestClient client(port_);
  ASSERT_EQ(client.ReadLine(), "begun\r\n");
  gateway->Drain(absl::Milliseconds(50));
  EXPECT_EQ(client.ReadLine(), "go on\r\n");
  EXPECT_EQ(client.ReadToEnd(), "");
}

TEST_F(GatewayTest, DrainDoesNotWaitForHandshakes) {
  const auto gateway = Started(TlsListener(true), &Echo);
  TestClient silent(port_);
  ASSERT_TRUE(silent.connected());
  // A second one, so that the first has surely been accepted.
  TestClient other(port_);
  ASSERT_TRUE(other.StartTls());
  const absl::Time began = absl::Now();
  gateway->Drain(absl::Hours(1));
  EXPECT_LT(absl::Now() - began, kLong);
}

// A session that waits for a service's answer, which comes from another thread.
TEST_F(GatewayTest, AwaitGoesOnOnItsOwnLoop) {
  std::promise<absl::AnyInvocable<void(absl::StatusOr<std::string>)>> asked;
  std::atomic<bool> same_thread{false};
  const SessionFunction run = [&](SessionContext context) {
    return [](SessionContext session, auto* promise, auto* same) -> asio::awaitable<void> {
      const std::thread::id before = std::this_thread::get_id();
      const auto start = [promise](absl::AnyInvocable<void(absl::StatusOr<std::string>)> done) {
        promise->set_value(std::move(done));
      };
      const auto answer = co_await async::Await<absl::StatusOr<std::string>>(start);
      *same = std::this_thread::get_id() == before;
      (void)co_await session.connection->Write(*answer, session.session_deadline);
    }(std::move(context), &asked, &same_thread);
  };
  const auto gateway = Started(PlainListener(), run, 2);
  TestClient client(port_);
  auto done = asked.get_future().get();
  std::thread([&] { done(std::string("answer\r\n")); }).join();
  EXPECT_EQ(client.ReadToEnd(), "answer\r\n");
  EXPECT_TRUE(same_thread);
}

// Giving up destroys what would answer, which then answers.
TEST_F(GatewayTest, AwaitUntilGivesUp) {
  const SessionFunction run = [](SessionContext context) {
    return [](SessionContext session) -> asio::awaitable<void> {
      absl::AnyInvocable<void(absl::Status)> pending;
      const auto start = [&](absl::AnyInvocable<void(absl::Status)> done) {
        pending = std::move(done);
      };
      const auto give_up = [&] { pending(absl::CancelledError("given up")); };
      const absl::Status status = co_await async::AwaitUntil<absl::Status>(
          steady_clock::now() + milliseconds(5), start, give_up);
      const std::string words(status.message());
      (void)co_await session.connection->Write(words, session.session_deadline);
    }(std::move(context));
  };
  const auto gateway = Started(PlainListener(), run);
  EXPECT_EQ(TestClient(port_).ReadToEnd(), "no answer in time");
}

TEST_F(GatewayTest, R11_BindsExactlyItsAddress) {
  {
    const auto gateway = Started(PlainListener(), &Echo);
    EXPECT_TRUE(TestClient(port_, "127.0.0.1").connected());
    EXPECT_FALSE(TestClient(port_, "127.0.0.2").connected());
  }
  config::v1::Listener all = PlainListener();
  all.set_address("0.0.0.0");
  {
    const auto gateway = Started(all, &Echo);
    EXPECT_TRUE(TestClient(port_, "127.0.0.2").connected());
    EXPECT_FALSE(TestClient(port_, "::1").connected());
  }
  all.set_address("::");
  const auto gateway = Start(all, &Echo);
  if (!gateway.ok()) GTEST_SKIP() << "no IPv6 here: " << gateway.status();
  const int port = (*gateway)->Ports().at("plain");
  EXPECT_TRUE(TestClient(port, "127.0.0.1").connected());
  EXPECT_TRUE(TestClient(port, "::1").connected());
}

TEST_F(GatewayTest, R11_ABindThatFailsIsNamed) {
  // Another gateway of the same user, with SO_REUSEPORT too.
  const auto gateway = Started(PlainListener(), &Echo);
  config::v1::Listener taken = PlainListener();
  taken.set_name("second");
  taken.set_port(port_);
  absl::Status status = Start(taken, &Echo).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(
      status.message(), absl::StrCat("listener \"second\": address 127.0.0.1 port ", port_)))
      << status;
  // Unless it is told to share.
  taken.set_share_port(true);
  EXPECT_TRUE(Start(taken, &Echo).ok());
  config::v1::Listener foreign = PlainListener();
  foreign.set_address("192.0.2.1");
  status = Start(foreign, &Echo).status();
  EXPECT_TRUE(absl::StrContains(status.message(), "192.0.2.1")) << status;
}

TEST_F(GatewayTest, R10_ASecurityDomainThatIsBrokenIsNamed) {
  const std::string certificate = domains_[0].certificate_file();
  const std::string key = domains_[0].private_key_file();
  const config::v1::MutualTls other = pki_.Issue("other.test", {});
  const std::string garbage = absl::StrCat(pki_.directory(), "/garbage");
  std::FILE* file = std::fopen(garbage.c_str(), "w");
  std::fputs("-----BEGIN NONSENSE-----\n", file);
  std::fclose(file);
  const struct {
    std::string certificate, key, named, why;
  } kCases[] = {
      {"/absent.pem", key, "/absent.pem", "No such file"},
      {certificate, "/absent.key", "/absent.key", "No such file"},
      {garbage, key, garbage, "no PEM certificate"},
      {certificate, garbage, garbage, "no PEM private key"},
      {certificate, other.private_key_file(), other.private_key_file(), "not the key"},
  };
  for (const auto& c : kCases) {
    domains_[0].set_certificate_file(c.certificate);
    domains_[0].set_private_key_file(c.key);
    const absl::Status status = LoadSecurityDomains(domains_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(status.message(), "security domain \"public\"")) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), c.named)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), c.why)) << status;
  }
}

// The name in the certificate that a new connection sees.
std::string NameSeen(int port) {
  TestClient client(port);
  return client.StartTls() ? client.PeerName() : "";
}

TEST_F(GatewayTest, CertificatesAreReadAgain) {
  // As Kubernetes lays out a Secret: the files are links through ..data, which is swapped.
  const std::string& base = pki_.directory();
  const auto lay_out = [&](const std::string& version, const config::v1::MutualTls& files) {
    const std::string directory = absl::StrCat(base, "/", version);
    ASSERT_EQ(std::system(absl::StrCat("mkdir -p ", directory, " && cp ", files.certificate_file(),
                                       " ", directory, "/tls.crt && cp ", files.private_key_file(),
                                       " ", directory, "/tls.key && ln -sfn ", version, " ", base,
                                       "/..new && mv -T ", base, "/..new ", base, "/..data")
                              .c_str()),
              0);
  };
  lay_out("v1", pki_.Issue("one.test", {}));
  ASSERT_EQ(0, std::system(absl::StrCat("ln -s ..data/tls.crt ", base, "/tls.crt && ln -s ",
                                        "..data/tls.key ", base, "/tls.key")
                               .c_str()));
  domains_[0].set_certificate_file(base + "/tls.crt");
  domains_[0].set_private_key_file(base + "/tls.key");
  const auto gateway = Started(TlsListener(true), &Echo);
  TestClient before(port_);
  ASSERT_TRUE(before.StartTls());
  EXPECT_EQ(before.PeerName(), "one.test");

  const auto wait_for = [&](const std::string& name) {
    const absl::Time until = absl::Now() + kLong;
    while (NameSeen(port_) != name && absl::Now() < until) {
    }
    return NameSeen(port_);
  };
  lay_out("v2", pki_.Issue("two.test", {}));
  EXPECT_EQ(wait_for("two.test"), "two.test");

  // A key that is not the certificate's: the old pair stays.
  config::v1::MutualTls broken = pki_.Issue("three.test", {});
  broken.set_private_key_file(pki_.Issue("four.test", {}).private_key_file());
  lay_out("v3", broken);
  EXPECT_EQ(NameSeen(port_), "two.test");
  lay_out("v4", pki_.Issue("five.test", {}));
  EXPECT_EQ(wait_for("five.test"), "five.test");

  // No connection was dropped.
  before.Send("still here\r\n");
  EXPECT_EQ(before.ReadLine(), "still here\r\n");
}

TEST(CheckListenersTest, NamesTheSettingAtFault) {
  const struct {
    const char* what;
    void (*spoil)(config::v1::Listener*);
  } kCases[] = {
      {"address", [](config::v1::Listener* l) { l->set_address("localhost"); }},
      {"tls_enabled and implicit_tls exclude",
       [](config::v1::Listener* l) {
         l->set_tls_enabled(true);
         l->set_implicit_tls(true);
       }},
      {"security_domain: absent",
       [](config::v1::Listener* l) {
         l->set_tls_enabled(true);
         l->clear_security_domain();
       }},
      // R10
      {"security_domain: \"absent\" is not in security_domains",
       [](config::v1::Listener* l) { l->set_security_domain("absent"); }},
      {"require_tls wants", [](config::v1::Listener* l) { l->set_require_tls(true); }},
      // R8, R5
      {"require_tls_for_auth", [](config::v1::Listener* l) { l->set_require_tls_for_auth(false); }},
      {"name stands twice", [](config::v1::Listener* l) { l->set_name("other"); }},
  };
  google::protobuf::RepeatedPtrField<config::v1::SecurityDomain> domains;
  domains.Add()->set_name("public");
  google::protobuf::RepeatedPtrField<config::v1::Listener> listeners;
  listeners.Add()->set_name("other");
  listeners.Add()->set_name("mx");
  listeners[1].set_security_domain("public");
  ASSERT_TRUE(CheckListeners(listeners, domains).ok());
  EXPECT_TRUE(absl::StrContains(CheckListeners({}, domains).message(), "listeners"));
  for (const auto& c : kCases) {
    auto spoiled = listeners;
    c.spoil(&spoiled[1]);
    const absl::Status status = CheckListeners(spoiled, domains);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.what;
    EXPECT_TRUE(absl::StrContains(status.message(), c.what)) << status;
  }
  domains.Add()->set_name("public");
  EXPECT_TRUE(absl::StrContains(CheckListeners(listeners, domains).message(), "public"));
}

}  // namespace
}  // namespace postern::net
