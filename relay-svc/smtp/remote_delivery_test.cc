#include "relay-svc/smtp/remote_delivery.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "boost/asio/co_spawn.hpp"
#include "boost/asio/detached.hpp"
#include "boost/asio/io_context.hpp"
#include "relay-svc/domain/fake_resolver.h"
#include "relay-svc/smtp/scripted_server.h"
#include "relay-svc/sqlite/sqlite_spool.h"
#include "services/async/wait.h"
#include "services/identity/test_pki.h"

namespace postern::relay {
namespace {

using Kind = DeliveryResult::Kind;
using Results = std::vector<DeliveryResult>;
using Replies = std::map<std::string, std::string>;

class RemoteDeliveryTest : public testing::Test {
 protected:
  RemoteDeliveryTest() { OpenSpool(); }

  void OpenSpool() {
    static int number = 0;
    absl::StatusOr<std::unique_ptr<Spool>> spool =
        OpenSqliteSpool(absl::StrCat(testing::TempDir(), "/remote-", ++number, ".db"), {});
    EXPECT_TRUE(spool.ok()) << spool.status();
    spool_ = *std::move(spool);
  }

  void Enqueue(const std::string& body) {
    message_.queue_id = "0123456789abcdef";
    message_.sender = "alice@example.test";
    message_.octets = body.size();
    std::unique_ptr<SpoolWriter> writer = spool_->NewMessageWriter();
    for (size_t at = 0; at < body.size(); at += kMaxPieceOctets) {
      ASSERT_TRUE(async::Wait<absl::Status>([&](auto done) {
                    writer->Write(body.substr(at, kMaxPieceOctets), std::move(done));
                  }).ok());
    }
    NewMessage message;
    message.message = message_;
    message.recipients = {{"bob@remote.test", "remote.test"}};
    ASSERT_TRUE(async::Wait<absl::StatusOr<Committed>>([&](auto done) {
                  writer->Commit(std::move(message), std::move(done));
                }).ok());
  }

  Results Deliver(std::vector<std::string> recipients = {"bob@remote.test"},
                  const std::string& destination = "remote.test") {
    RemoteDelivery delivery(options_, &resolver_);
    return Run(delivery, std::move(recipients), destination);
  }

  Results Run(RemoteDelivery& delivery, std::vector<std::string> recipients = {"bob@remote.test"},
              const std::string& destination = "remote.test") {
    std::vector<DeliveryRecipient> to;
    for (std::string& recipient : recipients) to.push_back({std::move(recipient), {}});
    boost::asio::io_context context;
    Results results;
    MessageBody body(spool_.get(), message_);
    boost::asio::co_spawn(context, delivery.Deliver(message_, destination, to, body),
                          [&](std::exception_ptr, Results answer) { results = std::move(answer); });
    context.run();
    EXPECT_EQ(results.size(), to.size());
    results.resize(to.size());
    return results;
  }

  // remote.test goes to this server.
  void Use(const ScriptedServer& server) {
    options_.routing.mx_port = server.port();
    resolver_.mx["remote.test"] = std::vector<MxRecord>{{10, "mx.remote.test"}};
    resolver_.AddAddress("mx.remote.test", "127.0.0.1");
  }

  static inline const std::string kBody =
      "From: alice@example.test\r\nSubject: x\r\n\r\n.dot\r\n..two\r\n\r\nend\r\n";

  RemoteDeliveryOptions options_{
      .routing = {.hostname = "relay.example.test"},
      .networks = {.allowed = {*Network::Parse("127.0.0.0/8"), *Network::Parse("::1")}}};
  FakeResolver resolver_;
  std::unique_ptr<Spool> spool_;
  SpooledMessage message_;
};

TEST_F(RemoteDeliveryTest, DeliversToAllRecipientsInOneTransaction) {
  ScriptedServer server({});
  Use(server);
  Enqueue(kBody);
  const Results results = Deliver({"bob@remote.test", "eve@remote.test"});
  for (const DeliveryResult& result : results) {
    EXPECT_EQ(result.kind, Kind::kDelivered) << result.text;
    EXPECT_EQ(result.remote_mta, "mx.remote.test");
  }
  const ScriptedServer::Seen seen = server.seen();
  EXPECT_EQ(seen.sessions, 1);
  EXPECT_EQ(seen.bodies, std::vector<std::string>{kBody});
  EXPECT_EQ(server.Count("MAIL FROM:<alice@example.test>"), 1);
  EXPECT_EQ(server.Count("RCPT TO:"), 2);
  EXPECT_EQ(server.Count("EHLO relay.example.test"), 1);
}

TEST_F(RemoteDeliveryTest, ALargeBodyArrivesWhole) {
  ScriptedServer server({});
  Use(server);
  std::string body = "From: alice@example.test\r\n\r\n";
  for (int i = 0; body.size() < 3'000'000; ++i) absl::StrAppend(&body, ".line ", i, "\r\n");
  Enqueue(body);
  EXPECT_EQ(Deliver()[0].kind, Kind::kDelivered);
  const ScriptedServer::Seen seen = server.seen();
  ASSERT_EQ(seen.bodies.size(), 1u);
  EXPECT_TRUE(seen.bodies[0] == body);
}

// The predecessor retried a 5xx at MAIL and at DATA.
TEST_F(RemoteDeliveryTest, PredecessorDefect5xxAtMailOrDataRetried) {
  const struct {
    const char* stage;
    const char* reply;
    Kind kind;
    const char* enhanced;
  } cases[] = {
      {"CONNECT", "554 5.7.1 go away", Kind::kPermanent, "5.7.1"},
      {"CONNECT", "421 4.3.2 busy", Kind::kTemporary, "4.3.2"},
      {"MAIL", "550 5.7.1 not you", Kind::kPermanent, "5.7.1"},
      {"MAIL", "451 4.7.1 later", Kind::kTemporary, "4.7.1"},
      {"RCPT", "550 5.1.1 nobody", Kind::kPermanent, "5.1.1"},
      {"RCPT", "450 4.2.0 later", Kind::kTemporary, "4.2.0"},
      {"DATA", "554 5.5.0 no", Kind::kPermanent, "5.5.0"},
      {"DATA", "451 4.3.0 later", Kind::kTemporary, "4.3.0"},
      {"BODY", "554 5.6.0 spam", Kind::kPermanent, "5.6.0"},
      {"BODY", "452 4.3.1 full", Kind::kTemporary, "4.3.1"},
      {"BODY", "550 no enhanced code", Kind::kPermanent, "5.0.0"},
      {"CONNECT", "DROP", Kind::kTemporary, "4.4.1"},
      {"EHLO", "DROP", Kind::kTemporary, "4.4.2"},
      {"MAIL", "DROP", Kind::kTemporary, "4.4.2"},
      {"RCPT", "DROP", Kind::kTemporary, "4.4.2"},
      {"DATA", "DROP", Kind::kTemporary, "4.4.2"},
      {"DATA", "DROP-IN-BODY", Kind::kTemporary, "4.4.2"},
      {"BODY", "DROP", Kind::kTemporary, "4.4.2"},
  };
  Enqueue(kBody);
  for (const bool pipelining : {true, false}) {
    for (const auto& c : cases) {
      SCOPED_TRACE(absl::StrCat(c.stage, ": ", c.reply, pipelining ? ", pipelined" : ""));
      ScriptedServer::Options script{.replies = {{c.stage, c.reply}}};
      if (!pipelining) script.extensions = {"8BITMIME"};
      ScriptedServer server(script);
      resolver_ = FakeResolver();
      Use(server);
      const DeliveryResult result = Deliver()[0];
      EXPECT_EQ(result.kind, c.kind) << result.text;
      EXPECT_EQ(result.enhanced, c.enhanced) << result.text;
      EXPECT_EQ(result.is_reply, absl::string_view(c.reply).substr(0, 4) != "DROP");
      EXPECT_EQ(server.seen().sessions, 1);
    }
  }
}

TEST_F(RemoteDeliveryTest, OneRecipientsRefusalIsItsOwn) {
  ScriptedServer server(
      {.replies = {{"RCPT TO:<gone@", "550 5.1.1 nobody"}, {"RCPT TO:<full@", "452 4.2.2 full"}}});
  Use(server);
  Enqueue(kBody);
  const Results results = Deliver({"gone@remote.test", "bob@remote.test", "full@remote.test"});
  EXPECT_EQ(results[0].kind, Kind::kPermanent);
  EXPECT_EQ(results[1].kind, Kind::kDelivered);
  EXPECT_EQ(results[2].kind, Kind::kTemporary);
  EXPECT_EQ(server.seen().bodies.size(), 1u);
}

// Both families (the predecessor was IPv4 only), each address in turn.
TEST_F(RemoteDeliveryTest, PredecessorDefectIPv4Only) {
  ScriptedServer server({.address = "::1"});
  Use(server);
  resolver_.addresses.clear();
  resolver_.AddAddress("mx.remote.test", "::1");
  Enqueue(kBody);
  EXPECT_EQ(Deliver()[0].kind, Kind::kDelivered);
}

TEST_F(RemoteDeliveryTest, TheNextAddressAndTheNextHost) {
  // Nobody listens on the first two.
  ScriptedServer busy({.address = "127.0.0.21", .replies = {{"CONNECT", "421 4.3.2 busy"}}});
  ScriptedServer good({.address = "127.0.0.22", .port = busy.port()});
  options_.routing.mx_port = busy.port();
  resolver_.mx["remote.test"] =
      std::vector<MxRecord>{{30, "good.test"}, {5, "none.test"}, {20, "busy.test"}, {10, "a.test"}};
  resolver_.AddAddress("a.test", "::1");
  resolver_.AddAddress("a.test", "127.0.0.23");
  resolver_.AddAddress("busy.test", "127.0.0.21");
  resolver_.AddAddress("good.test", "127.0.0.22");
  Enqueue(kBody);
  const DeliveryResult result = Deliver()[0];
  EXPECT_EQ(result.kind, Kind::kDelivered) << result.text;
  EXPECT_EQ(result.remote_mta, "good.test");
  EXPECT_EQ(busy.seen().sessions, 1);
}

TEST_F(RemoteDeliveryTest, NoSecondCopyAfterTheBodyWentOut) {
  ScriptedServer first({.address = "127.0.0.21", .replies = {{"BODY", "DROP"}}});
  ScriptedServer second({.address = "127.0.0.22", .port = first.port()});
  options_.routing.mx_port = first.port();
  resolver_.mx["remote.test"] = std::vector<MxRecord>{{10, "a.test"}, {20, "b.test"}};
  resolver_.AddAddress("a.test", "127.0.0.21");
  resolver_.AddAddress("b.test", "127.0.0.22");
  Enqueue(kBody);
  EXPECT_EQ(Deliver()[0].kind, Kind::kTemporary);
  EXPECT_EQ(second.seen().sessions, 0);
}

// Two hosts for remote.test, by preference.
class TwoHostsTest : public RemoteDeliveryTest {
 protected:
  void Use(ScriptedServer::Options first, ScriptedServer::Options second = {}) {
    second_.reset();
    first.address = "127.0.0.21";
    first_.emplace(std::move(first));
    second.address = "127.0.0.22";
    second.port = first_->port();
    second_.emplace(std::move(second));
    options_.routing.mx_port = first_->port();
    resolver_ = FakeResolver();
    resolver_.mx["remote.test"] = std::vector<MxRecord>{{10, "a.test"}, {20, "b.test"}};
    resolver_.AddAddress("a.test", "127.0.0.21");
    resolver_.AddAddress("b.test", "127.0.0.22");
  }

  std::optional<ScriptedServer> first_;
  std::optional<ScriptedServer> second_;
};

// RFC 5321 3.8: the host closes, and nothing is settled for those who have no other answer.
TEST_F(TwoHostsTest, A421AtAnyStageTriesTheNextHost) {
  Enqueue(kBody);
  for (const bool pipelining : {true, false}) {
    for (const char* stage :
         {"CONNECT", "EHLO", "STARTTLS", "MAIL", "RCPT TO:<bob", "RCPT TO:<eve", "DATA", "BODY"}) {
      SCOPED_TRACE(absl::StrCat(stage, pipelining ? ", pipelined" : ""));
      ScriptedServer::Options closing{
          .replies = {{stage, "421 4.3.2 bye"}, {"RCPT TO:<gone", "550 5.1.1 nobody"}}};
      closing.extensions = {"8BITMIME"};
      if (pipelining) closing.extensions.push_back("PIPELINING");
      if (absl::string_view(stage) == "STARTTLS") {
        closing.extensions.push_back("STARTTLS");
        // And in clear.
        closing.replies["MAIL"] = "421 4.3.2 bye";
      }
      Use(closing);
      const Results results = Deliver({"gone@remote.test", "bob@remote.test", "eve@remote.test"});
      EXPECT_EQ(results[1].kind, Kind::kDelivered) << results[1].text;
      EXPECT_EQ(results[2].kind, Kind::kDelivered) << results[2].text;
      EXPECT_EQ(results[2].remote_mta, "b.test");
      EXPECT_EQ(second_->seen().bodies.size(), 1u);
      // Who has an answer is not asked for again.
      const bool asked = first_->Count("RCPT TO:<gone") > 0;
      EXPECT_EQ(second_->Count("RCPT TO:<gone"), asked ? 0 : 1);
      EXPECT_EQ(results[0].kind, asked ? Kind::kPermanent : Kind::kDelivered);
    }
  }
}

TEST_F(TwoHostsTest, A5xxGreetingTriesTheNextHost) {
  Enqueue(kBody);
  Use({.replies = {{"CONNECT", "554 5.7.1 no SMTP service here"}}});
  EXPECT_EQ(Deliver()[0].kind, Kind::kDelivered);
  EXPECT_EQ(first_->seen().sessions, 1);
}

TEST_F(TwoHostsTest, A5xxGreetingIsPermanentWhenEveryHostSaysSo) {
  Enqueue(kBody);
  const char* const kNo = "554 5.7.1 no SMTP service here";
  const struct {
    const char* first;
    const char* second;
    Kind kind;
  } cases[] = {
      {kNo, kNo, Kind::kPermanent},
      {kNo, "421 4.3.2 busy", Kind::kTemporary},
      {"421 4.3.2 busy", kNo, Kind::kTemporary},
      {kNo, "450 4.3.2 busy", Kind::kTemporary},
      {kNo, "DROP", Kind::kTemporary},
      {"DROP", kNo, Kind::kTemporary},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.first, ", ", c.second));
    Use({.replies = {{"CONNECT", c.first}}}, {.replies = {{"CONNECT", c.second}}});
    EXPECT_EQ(Deliver()[0].kind, c.kind);
    EXPECT_EQ(second_->seen().sessions, 1);
  }
  // The DNS has no word of the other one now.
  Use({.replies = {{"CONNECT", kNo}}});
  resolver_.addresses["b.test"] = absl::UnavailableError("SERVFAIL");
  EXPECT_EQ(Deliver()[0].kind, Kind::kTemporary);
}

std::vector<std::string> Five() {
  return {"a@remote.test", "b@remote.test", "c@remote.test", "d@remote.test", "e@remote.test"};
}

void ExpectDelivered(const Results& results) {
  for (const DeliveryResult& result : results) {
    EXPECT_EQ(result.kind, Kind::kDelivered) << result.text;
  }
}

// RFC 5321 4.5.3.1.10.
TEST_F(RemoteDeliveryTest, WhatTheHostFindsTooManyGoesInFurtherTransactionsAtOnce) {
  Enqueue(kBody);
  for (const char* too_many : {"452 4.5.3 too many", "552 5.5.3 too many", "552 too many"}) {
    for (const bool pipelining : {true, false}) {
      SCOPED_TRACE(absl::StrCat(too_many, pipelining ? ", pipelined" : ""));
      ScriptedServer::Options script{.recipients_per_transaction = 2, .too_many = too_many};
      if (!pipelining) script.extensions = {"8BITMIME"};
      ScriptedServer server(script);
      resolver_ = FakeResolver();
      Use(server);
      ExpectDelivered(Deliver(Five()));
      EXPECT_EQ(server.seen().sessions, 1);
      EXPECT_EQ(server.seen().bodies, std::vector<std::string>(3, kBody));
    }
  }
}

TEST_F(RemoteDeliveryTest, A552ToRcptIsTemporary) {
  Enqueue(kBody);
  ScriptedServer server({.replies = {{"RCPT", "552 5.2.2 full"}}});
  Use(server);
  const DeliveryResult result = Deliver()[0];
  EXPECT_EQ(result.kind, Kind::kTemporary);
  EXPECT_EQ(result.enhanced, "4.2.2");
  EXPECT_EQ(result.text, "552 5.2.2 full");
  EXPECT_EQ(server.Count("MAIL"), 1);
}

TEST_F(RemoteDeliveryTest, MoreRecipientsThanTheLimitGoInFurtherTransactions) {
  Enqueue(kBody);
  ScriptedServer server({});
  Use(server);
  options_.recipients_per_transaction = 2;
  ExpectDelivered(Deliver(Five()));
  EXPECT_EQ(server.seen().sessions, 1);
  EXPECT_EQ(server.Count("RCPT"), 5);
  EXPECT_EQ(server.seen().bodies, std::vector<std::string>(3, kBody));
}

// Hosts that take one message in a session, whatever they say to the next MAIL.
TEST_F(RemoteDeliveryTest, AFurtherTransactionGoesInAnotherSessionWhenThisOneIsOver) {
  Enqueue(kBody);
  options_.recipients_per_transaction = 2;
  for (const char* another : {"DROP", "550 5.5.0 one is enough", "452 4.5.3 one is enough"}) {
    SCOPED_TRACE(another);
    ScriptedServer server({.messages_per_session = 1, .another = another});
    resolver_ = FakeResolver();
    Use(server);
    ExpectDelivered(Deliver(Five()));
    EXPECT_EQ(server.seen().sessions, 3);
    EXPECT_EQ(server.Count("RCPT TO:<a@"), 1);
    EXPECT_EQ(server.seen().bodies, std::vector<std::string>(3, kBody));
  }
}

TEST_F(TwoHostsTest, A421BetweenTransactionsLeavesTheOthersToTheNextHost) {
  Enqueue(kBody);
  options_.recipients_per_transaction = 2;
  Use({.messages_per_session = 1, .another = "421 4.3.2 bye"});
  ExpectDelivered(Deliver(Five()));
  EXPECT_EQ(first_->seen().sessions, 1);
  EXPECT_EQ(first_->Count("RCPT TO:<"), 2);
  EXPECT_EQ(second_->Count("RCPT TO:<"), 3);
  EXPECT_EQ(second_->Count("RCPT TO:<a@"), 0);
}

// Nobody knows whether the first one was taken; of the others it is known that they were not.
TEST_F(TwoHostsTest, AMessageWithoutAnAnswerIsNotSentAgainButToTheOthers) {
  Enqueue(kBody);
  options_.recipients_per_transaction = 2;
  Use({.replies = {{"BODY", "DROP"}}});
  const Results results = Deliver(Five());
  EXPECT_EQ(results[0].kind, Kind::kTemporary);
  EXPECT_EQ(results[1].kind, Kind::kTemporary);
  EXPECT_EQ(results[4].kind, Kind::kDelivered) << results[4].text;
  EXPECT_EQ(second_->Count("RCPT TO:<a@") + second_->Count("RCPT TO:<b@"), 0);
}

// The attempt ends with the transaction under way; the others were asked for nowhere.
TEST_F(RemoteDeliveryTest, OnceItStopsNoFurtherTransactionBegins) {
  Enqueue(kBody);
  ScriptedServer server({});
  Use(server);
  options_.recipients_per_transaction = 2;
  RemoteDelivery delivery(options_, &resolver_);
  delivery.Stop();
  const Results results = Run(delivery, Five());
  for (size_t i = 0; i < results.size(); ++i) {
    EXPECT_EQ(results[i].kind, i < 2 ? Kind::kDelivered : Kind::kTemporary) << results[i].text;
    EXPECT_EQ(results[i].ours, i >= 2);
  }
  EXPECT_EQ(server.Count("MAIL"), 1);
}

// Who is left need not what the others needed.
TEST_F(TwoHostsTest, AHostWithoutSmtputf8TakesThoseWhoAreLeft) {
  Enqueue(kBody);
  Use({.replies = {{"RCPT TO:<bø", "550 5.1.1 nobody"}, {"RCPT TO:<bob", "421 4.3.2 bye"}}},
      {.extensions = {"8BITMIME"}});
  const Results results = Deliver({"bøb@remote.test", "bob@remote.test"});
  EXPECT_EQ(results[0].kind, Kind::kPermanent);
  EXPECT_EQ(results[1].kind, Kind::kDelivered) << results[1].text;
}

TEST_F(RemoteDeliveryTest, NobodyListens) {
  int port = 0;
  { port = ScriptedServer({}).port(); }
  options_.routing.mx_port = port;
  resolver_.AddAddress("remote.test", "127.0.0.1");
  Enqueue(kBody);
  const DeliveryResult result = Deliver()[0];
  EXPECT_EQ(result.kind, Kind::kTemporary);
  EXPECT_EQ(result.enhanced, "4.4.1");
  EXPECT_FALSE(result.is_reply);
}

TEST_F(RemoteDeliveryTest, ASilentServerEndsInTime) {
  ScriptedServer server({.replies = {{"CONNECT", "220-and\n220-then"}}});
  Use(server);
  options_.limits.greeting_timeout = std::chrono::seconds(1);
  Enqueue(kBody);
  EXPECT_EQ(Deliver()[0].kind, Kind::kTemporary);
}

// The predecessor sent everything in clear.
class StartTlsTest : public RemoteDeliveryTest {
 protected:
  ScriptedServer::Options WithTls() {
    identity::TestPki pki(absl::StrCat(testing::TempDir(), "/pki"));
    const config::v1::MutualTls issued = pki.Issue("mx", {.dns = {"another.name.test"}});
    return {.certificate_file = issued.certificate_file(),
            .private_key_file = issued.private_key_file()};
  }
};

TEST_F(StartTlsTest, PredecessorDefectNoStartTlsOut) {
  ScriptedServer server(WithTls());
  Use(server);
  Enqueue(kBody);
  const DeliveryResult result = Deliver()[0];
  EXPECT_EQ(result.kind, Kind::kDelivered) << result.text;
  EXPECT_TRUE(result.tls);
  const ScriptedServer::Seen seen = server.seen();
  EXPECT_EQ(seen.tls_sessions, 1);
  EXPECT_EQ(seen.sessions, 1);
  EXPECT_EQ(server.Count("EHLO"), 2);
  EXPECT_EQ(seen.bodies, std::vector<std::string>{kBody});
}

TEST_F(StartTlsTest, BrokenHandshakeIsTriedOnceInClear) {
  // It says 220 and then hangs up.
  ScriptedServer server({.extensions = {"STARTTLS"}});
  Use(server);
  Enqueue(kBody);
  const DeliveryResult result = Deliver()[0];
  EXPECT_EQ(result.kind, Kind::kDelivered) << result.text;
  EXPECT_FALSE(result.tls);
  EXPECT_EQ(server.seen().sessions, 2);
  EXPECT_EQ(server.Count("STARTTLS"), 1);
}

TEST_F(StartTlsTest, AConnectionThatClosesAtStartTlsIsTriedInClear) {
  ScriptedServer server({.replies = {{"STARTTLS", "DROP"}}, .extensions = {"STARTTLS"}});
  Use(server);
  Enqueue(kBody);
  EXPECT_EQ(Deliver()[0].kind, Kind::kDelivered);
  EXPECT_EQ(server.seen().sessions, 2);
}

// What stands behind the 220 is never read as replies of what follows.
TEST_F(StartTlsTest, OctetsBehindThe220AreThrownAwayAndItIsTriedInClear) {
  ScriptedServer server(
      {.replies = {{"STARTTLS", "220 go ahead\n250 injected"}}, .extensions = {"STARTTLS"}});
  Use(server);
  Enqueue(kBody);
  const DeliveryResult result = Deliver()[0];
  EXPECT_EQ(result.kind, Kind::kDelivered) << result.text;
  EXPECT_FALSE(result.tls);
  EXPECT_EQ(server.seen().bodies, std::vector<std::string>{kBody});
}

TEST_F(StartTlsTest, ABrokenStartTlsIsRemembered) {
  ScriptedServer server({.replies = {{"STARTTLS", "DROP"}}, .extensions = {"STARTTLS"}});
  Use(server);
  Enqueue(kBody);
  RemoteDelivery delivery(options_, &resolver_);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(Run(delivery)[0].kind, Kind::kDelivered);
  EXPECT_EQ(server.Count("STARTTLS"), 1);
  EXPECT_EQ(server.seen().sessions, 3);
}

TEST_F(StartTlsTest, RefusedStartTlsGoesOnInClear) {
  ScriptedServer server(
      {.replies = {{"STARTTLS", "454 4.7.0 not now"}}, .extensions = {"STARTTLS"}});
  Use(server);
  Enqueue(kBody);
  const DeliveryResult result = Deliver()[0];
  EXPECT_EQ(result.kind, Kind::kDelivered) << result.text;
  EXPECT_FALSE(result.tls);
}

TEST_F(RemoteDeliveryTest, NextHopInsteadOfMx) {
  ScriptedServer server({});
  options_.routing.next_hops["*"] = {"127.0.0.1", server.port()};
  Enqueue(kBody);
  EXPECT_EQ(Deliver({"x@nowhere.test"}, "nowhere.test")[0].kind, Kind::kDelivered);
}

TEST_F(RemoteDeliveryTest, NamesThatLeadNowhere) {
  Enqueue(kBody);
  resolver_.mx["null.test"] = std::vector<MxRecord>{{0, ""}};
  resolver_.mx["servfail.test"] = absl::UnavailableError("x");
  resolver_.mx["dangling.test"] = std::vector<MxRecord>{{10, "gone.test"}};
  resolver_.mx["half.test"] = std::vector<MxRecord>{{10, "broken.test"}};
  resolver_.addresses["broken.test"] = absl::UnavailableError("x");
  const struct {
    const char* domain;
    Kind kind;
    const char* enhanced;
  } cases[] = {
      {"nowhere.test", Kind::kPermanent, "5.1.2"},  {"null.test", Kind::kPermanent, "5.1.10"},
      {"servfail.test", Kind::kTemporary, "4.4.3"}, {"dangling.test", Kind::kPermanent, "5.1.2"},
      {"half.test", Kind::kTemporary, "4.4.3"},     {"[10.0.0.1]", Kind::kPermanent, "5.4.4"},
  };
  for (const auto& c : cases) {
    const DeliveryResult result = Deliver({absl::StrCat("x@", c.domain)}, c.domain)[0];
    EXPECT_EQ(result.kind, c.kind) << c.domain << ": " << result.text;
    EXPECT_EQ(result.enhanced, c.enhanced) << c.domain;
  }
}

// Next to a local mail server that trusts 127.0.0.1 that would be an open relay.
TEST_F(RemoteDeliveryTest, AnMxThatPointsInwardsIsRefused) {
  ScriptedServer server({});
  Use(server);
  options_.networks.allowed.clear();
  Enqueue(kBody);
  for (const char* address : {"127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.1.1"}) {
    resolver_.addresses.erase("mx.remote.test");
    resolver_.AddAddress("mx.remote.test", address);
    const DeliveryResult result = Deliver()[0];
    EXPECT_EQ(result.kind, Kind::kPermanent) << address;
    EXPECT_EQ(result.enhanced, "5.4.4") << address;
    EXPECT_TRUE(absl::StrContains(result.text, "mx.remote.test")) << result.text;
  }
  EXPECT_EQ(Deliver({"x@[127.0.0.1]"}, "[127.0.0.1]")[0].enhanced, "5.4.4");
  EXPECT_EQ(server.seen().sessions, 0);
  // The next MX may be one of the internet; a next hop may be anywhere.
  options_.routing.next_hops["remote.test"] = {"127.0.0.1", server.port()};
  EXPECT_EQ(Deliver()[0].kind, Kind::kDelivered);
}

TEST_F(RemoteDeliveryTest, AddressLiterals) {
  ScriptedServer server({});
  options_.routing.mx_port = server.port();
  Enqueue(kBody);
  EXPECT_EQ(Deliver({"x@[127.0.0.1]"}, "[127.0.0.1]")[0].kind, Kind::kDelivered);
  EXPECT_EQ(server.Count("RCPT TO:<x@[127.0.0.1]>"), 1);
}

// A socket that takes connections and says nothing.
class SilentHost {
 public:
  SilentHost(const std::string& address, int port) {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(static_cast<uint16_t>(port));
    inet_pton(AF_INET, address.c_str(), &where.sin_addr);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&where), sizeof(where)), 0) << strerror(errno);
    EXPECT_EQ(listen(fd_, 100), 0);
  }
  ~SilentHost() { close(fd_); }
  SilentHost(const SilentHost&) = delete;
  SilentHost& operator=(const SilentHost&) = delete;

 private:
  const int fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
};

// Hosts that take the connection and say nothing use up no session: a live one has its mail while
// they are waited for.
TEST_F(RemoteDeliveryTest, SilentHostsHoldNobodyUp) {
  ScriptedServer server({});
  Use(server);
  options_.max_sessions = 2;
  Enqueue(kBody);
  std::list<SilentHost> silent;
  for (int i = 0; i < 300; ++i) {
    const std::string name = absl::StrCat("s", i, ".test");
    const std::string address = absl::StrCat("127.1.", i / 250, ".", i % 250 + 1);
    silent.emplace_back(address, server.port());
    resolver_.mx[name] = std::vector<MxRecord>{{10, name}};
    resolver_.AddAddress(name, address);
  }
  RemoteDelivery delivery(options_, &resolver_);
  boost::asio::io_context context;
  std::vector<std::unique_ptr<MessageBody>> bodies;
  std::vector<std::vector<DeliveryRecipient>> to;
  to.reserve(301);
  int silent_done = 0;
  const auto start = [&](const std::string& domain, auto done) {
    bodies.push_back(std::make_unique<MessageBody>(spool_.get(), message_));
    to.push_back({{absl::StrCat("x@", domain), {}}});
    boost::asio::co_spawn(context, delivery.Deliver(message_, domain, to.back(), *bodies.back()),
                          std::move(done));
  };
  std::list<std::string> names;
  for (int i = 0; i < 300; ++i) {
    start(names.emplace_back(absl::StrCat("s", i, ".test")),
          [&](std::exception_ptr, Results) { ++silent_done; });
  }
  Results live;
  start(names.emplace_back("remote.test"), [&](std::exception_ptr, Results results) {
    live = std::move(results);
    context.stop();
  });
  context.run();
  ASSERT_EQ(live.size(), 1u);
  EXPECT_EQ(live[0].kind, Kind::kDelivered) << live[0].text;
  EXPECT_EQ(silent_done, 0);
}

// Hosts that say a little and then nothing are silent as well.
TEST_F(RemoteDeliveryTest, AHostThatStallsBeforeTheEnvelopeIsLeftAlone) {
  for (const Replies& replies :
       {Replies{{"CONNECT", "220-and\n220-then"}}, Replies{{"EHLO", "250-x"}}}) {
    ScriptedServer server({.replies = replies});
    Use(server);
    options_.limits.greeting_timeout = std::chrono::seconds(1);
    OpenSpool();
    Enqueue(kBody);
    RemoteDelivery delivery(options_, &resolver_);
    EXPECT_EQ(Run(delivery)[0].kind, Kind::kTemporary);
    EXPECT_TRUE(absl::StrContains(Run(delivery)[0].text, "silent"));
    EXPECT_EQ(server.seen().sessions, 1);
  }
}

TEST_F(RemoteDeliveryTest, ANextHopHasNoMoreConnectionsThanSessions) {
  ScriptedServer server({.replies = {{"DATA", "220-never"}}});
  options_.routing.next_hops["*"] = {"127.0.0.1", server.port()};
  options_.max_sessions = 1;
  options_.limits.place_timeout = std::chrono::seconds(0);
  Enqueue(kBody);
  RemoteDelivery delivery(options_, &resolver_);
  boost::asio::io_context context;
  MessageBody first(spool_.get(), message_);
  MessageBody second(spool_.get(), message_);
  const std::string domain = "nowhere.test";
  const std::vector<DeliveryRecipient> to = {{"x@nowhere.test", {}}};
  // Whichever comes second to the place.
  Results results;
  const auto ended = [&](std::exception_ptr, Results answer) {
    results = std::move(answer);
    context.stop();
  };
  boost::asio::co_spawn(context, delivery.Deliver(message_, domain, to, first), ended);
  boost::asio::co_spawn(context, delivery.Deliver(message_, domain, to, second), ended);
  context.run();
  ASSERT_EQ(results.size(), 1u);
  EXPECT_TRUE(absl::StrContains(results[0].text, "no session")) << results[0].text;
  EXPECT_LE(server.seen().sessions, 1);
}

TEST_F(RemoteDeliveryTest, ASilentHostIsLeftAlone) {
  int port = 0;
  { port = ScriptedServer({}).port(); }
  const SilentHost silent("127.0.0.1", port);
  options_.routing.mx_port = port;
  resolver_.AddAddress("remote.test", "127.0.0.1");
  resolver_.AddAddress("other.test", "127.0.0.1");
  options_.limits.greeting_timeout = std::chrono::seconds(1);
  Enqueue(kBody);
  RemoteDelivery delivery(options_, &resolver_);
  EXPECT_EQ(Run(delivery)[0].kind, Kind::kTemporary);
  // Another domain of the same host: told without a try.
  const DeliveryResult result = Run(delivery, {"x@other.test"}, "other.test")[0];
  EXPECT_EQ(result.kind, Kind::kTemporary);
  EXPECT_TRUE(absl::StrContains(result.text, "silent")) << result.text;
}

TEST_F(RemoteDeliveryTest, Utf8GoesToHostsThatTakeIt) {
  ScriptedServer plain({.extensions = {"8BITMIME"}});
  Use(plain);
  Enqueue(kBody);
  message_.smtputf8 = true;
  // MAIL said SMTPUTF8, but nothing needs it.
  EXPECT_EQ(Deliver()[0].kind, Kind::kDelivered);
  EXPECT_EQ(Deliver({"bob@remote.test"})[0].kind, Kind::kDelivered);
  EXPECT_EQ(Deliver({"bøb@remote.test"})[0].kind, Kind::kPermanent);
  ScriptedServer able({});
  resolver_ = FakeResolver();
  Use(able);
  // What an alias leads to needs it where the message did not.
  for (const bool said : {true, false}) {
    message_.smtputf8 = said;
    EXPECT_EQ(Deliver({"bøb@remote.test"})[0].kind, Kind::kDelivered);
  }
  EXPECT_EQ(able.Count("MAIL FROM:<alice@example.test>"), 2);
}

TEST_F(RemoteDeliveryTest, AMessageDeletedWhileItIsReadDoesNotArriveCut) {
  ScriptedServer server({});
  Use(server);
  Enqueue("From: alice@example.test\r\n\r\n" + std::string(3 * kMaxPieceOctets, 'x') + "\r\n");
  // The spool has less than the message should be: as after a deletion.
  message_.octets += 100;
  EXPECT_EQ(Deliver()[0].kind, Kind::kTemporary);
  EXPECT_TRUE(server.seen().bodies.empty());
}

}  // namespace
}  // namespace postern::relay
