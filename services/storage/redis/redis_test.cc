#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/async/wait.h"
#include "services/storage/redis/client.h"
#include "services/storage/redis/testing/test_server.h"
#include "services/storage/testing/server_process.h"

namespace postern::storage::redis {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr absl::Duration kPatience = absl::Seconds(60);

template <typename Condition>
bool Eventually(Condition condition) {
  const absl::Time deadline = absl::Now() + kPatience;
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

// A second to answer: machines that build are slow.
config::v1::Redis Patient(config::v1::Redis config) {
  config.set_timeout_milliseconds(1000);
  return config;
}

std::unique_ptr<Client> Open(const config::v1::Redis& config) {
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Open(config);
  EXPECT_TRUE(client.ok()) << client.status();
  return client.ok() ? *std::move(client) : nullptr;
}

absl::StatusOr<Reply> Get(Client& client, const std::string& key) {
  return async::Wait<absl::StatusOr<Reply>>(
      [&](async::Done<Reply> done) { client.Run("GET", key, {}, std::move(done)); });
}

absl::StatusOr<Reply> Set(Client& client, const std::string& key, const std::string& value) {
  return async::Wait<absl::StatusOr<Reply>>(
      [&](async::Done<Reply> done) { client.Run("SET", key, {value}, std::move(done)); });
}

TEST(EndpointTest, IsReadFromText) {
  struct Case {
    const char* text;
    // "" when it is none.
    const char* endpoint;
  };
  constexpr Case kCases[] = {
      {"redis", "redis:6379"},
      {"redis.mail.svc:7000", "redis.mail.svc:7000"},
      {"127.0.0.1:1", "127.0.0.1:1"},
      {"[2001:db8::1]:65535", "[2001:db8::1]:65535"},
      {"[::1]", "[::1]:6379"},
      {"", ""},
      {":6379", ""},
      {"redis:", ""},
      {"redis:0", ""},
      {"redis:65536", ""},
      {"redis:port", ""},
      {"2001:db8::1", ""},
      {"[::1", ""},
      {"[::1]6379", ""},
      {"[]:6379", ""},
  };
  for (const Case& c : kCases) {
    const absl::StatusOr<Endpoint> endpoint = ParseEndpoint(c.text, 6379);
    EXPECT_EQ(endpoint.ok() ? endpoint->ToString() : "", c.endpoint) << c.text;
  }
}

TEST(SlotTest, IsTheClustersOwn) {
  // As CLUSTER KEYSLOT says.
  EXPECT_EQ(SlotOf("123456789"), 12739);
  EXPECT_EQ(SlotOf("foo"), 12182);
  EXPECT_EQ(SlotOf("{foo}bar"), 12182);
  EXPECT_EQ(SlotOf("a{foo}{bar}"), 12182);
  EXPECT_EQ(SlotOf(""), 0);
  EXPECT_NE(SlotOf("{}foo"), 12182);
  EXPECT_NE(SlotOf("{foo"), 12182);
}

TEST(ConfigTest, WhatCantWorkIsNamed) {
  const std::string folder = std::getenv("TEST_TMPDIR");
  const std::string empty = absl::StrCat(folder, "/empty");
  std::ofstream(empty).close();
  struct Case {
    void (*spoil)(config::v1::Redis*, const std::string& empty);
    const char* begins;
  };
  const Case kCases[] = {
      {[](auto* c, auto&) { c->set_addresses(0, "redis:x"); }, "redis.addresses: \"redis:x\": "},
      {[](auto* c, auto&) {
         c->set_cluster(true);
         c->mutable_sentinel()->set_master_name("mail");
       },
       "redis.cluster: "},
      {[](auto* c, auto&) { c->set_password_file("/absent"); }, "redis.password_file: /absent"},
      {[](auto* c, auto& e) { c->set_password_file(e); }, "redis.password_file: "},
      {[](auto* c, auto&) { c->set_username("postern"); }, "redis.password_file: is absent"},
      {[](auto* c, auto&) { c->set_ca_file("/absent"); }, "redis.ca_file: /absent"},
      {[](auto* c, auto& e) { c->set_certificate_file(e); }, "redis.certificate_file: belongs"},
      {[](auto* c, auto& e) {
         c->set_certificate_file(e);
         c->set_private_key_file(e);
       },
       "redis.ca_file: is absent"},
  };
  for (const Case& c : kCases) {
    config::v1::Redis config;
    config.add_addresses("redis");
    EXPECT_EQ(CheckConfig(config), absl::OkStatus());
    c.spoil(&config, empty);
    EXPECT_THAT(std::string(CheckConfig(config).message()), StartsWith(c.begins));
    EXPECT_FALSE(Client::Open(config).ok());
  }
}

TEST(RedisTest, CommandsOfManyThreadsShareAConnection) {
  TestServer server;
  std::unique_ptr<Client> client = Open(Patient(server.Config()));
  ASSERT_TRUE(Eventually([&] { return client->Ready().ok(); })) << client->Ready();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&client, t] {
      for (int i = 0; i < 200; ++i) {
        const std::string key = absl::StrCat("postern:", t, ":", i);
        ASSERT_EQ(Set(*client, key, key)->text, "OK");
        ASSERT_EQ(Get(*client, key)->text, key);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // Those of other users: the ACL says no.
  EXPECT_TRUE(absl::IsFailedPrecondition(Get(*client, "others").status()));
  EXPECT_EQ(Get(*client, "postern:absent")->type, Reply::Type::kNil);
}

TEST(RedisTest, AScriptThatTheServerHasForgottenIsSentAgain) {
  TestServer server;
  std::unique_ptr<Client> client = Open(Patient(server.Config()));
  ASSERT_TRUE(Eventually([&] { return client->Ready().ok(); })) << client->Ready();
  static const Script script("return {KEYS[1], ARGV[1], 7}");
  for (int i = 0; i < 3; ++i) {
    const absl::StatusOr<Reply> reply =
        async::Wait<absl::StatusOr<Reply>>([&](async::Done<Reply> done) {
          client->Run(script, "postern:k", {"argument"}, std::move(done));
        });
    ASSERT_TRUE(reply.ok()) << reply.status();
    ASSERT_EQ(reply->elements.size(), 3u);
    EXPECT_EQ(reply->elements[0].text, "postern:k");
    EXPECT_EQ(reply->elements[1].text, "argument");
    EXPECT_EQ(reply->elements[2].integer, 7);
    if (i == 1) {
      EXPECT_EQ(server.Do({"SCRIPT", "FLUSH"}).text, "OK");
    }
  }
}

// With the time to answer that it has by default: nobody waits longer.
TEST(RedisTest, NobodyWaitsForAServerThatHangs) {
  TestServer server;
  config::v1::Redis config = server.Config();
  config.set_timeout_milliseconds(200);
  std::unique_ptr<Client> client = Open(config);
  ASSERT_TRUE(Eventually([&] { return client->Ready().ok(); })) << client->Ready();
  for (int round = 0; round < 2; ++round) {
    server.Stop();
    const absl::Time start = absl::Now();
    EXPECT_TRUE(absl::IsUnavailable(Get(*client, "postern:k").status()));
    EXPECT_LT(absl::Now() - start, absl::Seconds(5));
    ASSERT_TRUE(Eventually([&] { return !client->Ready().ok(); }));
    server.Continue();
    ASSERT_TRUE(Eventually([&] { return client->Ready().ok(); })) << client->Ready();
    EXPECT_EQ(Set(*client, "postern:k", "v")->text, "OK");
  }
}

TEST(RedisTest, AServerThatComesBackIsFound) {
  TestServer server;
  server.Kill();
  std::unique_ptr<Client> client = Open(Patient(server.Config()));
  EXPECT_TRUE(absl::IsUnavailable(Get(*client, "postern:k").status()));
  for (int round = 0; round < 2; ++round) {
    server.Start();
    ASSERT_TRUE(Eventually([&] { return client->Ready().ok(); })) << client->Ready();
    EXPECT_EQ(Set(*client, "postern:k", "v")->text, "OK");
    server.Kill();
    ASSERT_TRUE(Eventually([&] { return !client->Ready().ok(); }));
    EXPECT_TRUE(absl::IsUnavailable(Get(*client, "postern:k").status()));
  }
}

TEST(RedisTest, WhatItRefusesIsSaid) {
  TestServer server;
  const std::string folder = std::getenv("TEST_TMPDIR");
  const std::string wrong_password = absl::StrCat(folder, "/wrong");
  std::ofstream(wrong_password) << "guessed\n";
  struct Case {
    void (*spoil)(config::v1::Redis*, const std::string& wrong_password);
    const char* says;
  };
  const Case kCases[] = {
      {[](auto* c, auto& wrong) { c->set_password_file(wrong); }, "WRONGPASS"},
      {[](auto* c, auto&) {
         c->clear_password_file();
         c->clear_username();
       },
       "NOAUTH"},
      // Plain text to a port of TLS.
      {[](auto* c, auto&) { c->clear_ca_file(); }, "127.0.0.1:"},
  };
  for (const Case& c : kCases) {
    config::v1::Redis config = Patient(server.Config());
    c.spoil(&config, wrong_password);
    std::unique_ptr<Client> client = Open(config);
    EXPECT_TRUE(Eventually([&] { return client->Ready().message() != "not connected yet"; }));
    EXPECT_THAT(std::string(client->Ready().message()), HasSubstr(c.says));
  }
}

TEST(RedisTest, ACertificateOfAnotherNameIsRefused) {
  const config::v1::MutualTls other = TestServer::Pki().Issue("other", {.dns = {"other.example"}});
  TestServer server(absl::StrCat("tls-cert-file ", other.certificate_file(), "\ntls-key-file ",
                                 other.private_key_file()));
  std::unique_ptr<Client> client = Open(Patient(server.Config()));
  ASSERT_TRUE(Eventually([&] { return client->Ready().message() != "not connected yet"; }));
  EXPECT_THAT(std::string(client->Ready().message()), HasSubstr("IP address mismatch"));
}

// A password that is swapped in its file is used at the next connect.
TEST(RedisTest, APasswordIsReadAgain) {
  TestServer server;
  const config::v1::Redis config = Patient(server.Config());
  std::unique_ptr<Client> client = Open(config);
  ASSERT_TRUE(Eventually([&] { return client->Ready().ok(); })) << client->Ready();
  ASSERT_EQ(server.Do({"ACL", "SETUSER", "postern", "resetpass", ">another"}).text, "OK");
  std::ofstream(config.password_file()) << "another\n";
  ASSERT_EQ(server.Do({"CLIENT", "KILL", "USER", "postern"}).type, Reply::Type::kInteger);
  EXPECT_TRUE(Eventually([&] { return Set(*client, "postern:k", "v").ok(); }));
}

TEST(SentinelTest, ANewMasterIsFound) {
  TestServer first;
  TestServer second(absl::StrCat("replicaof 127.0.0.1 ", first.port()));
  const std::string monitor = absl::StrCat(
      "sentinel monitor mail 127.0.0.1 ", first.port(), " 1\nsentinel auth-user mail default\n",
      "sentinel auth-pass mail \"", TestServer::AdminPassword(), "\"\n",
      "sentinel down-after-milliseconds mail 1000\nsentinel failover-timeout mail 4000\n");
  ASSERT_TRUE(Eventually([&] {
    return absl::StrContains(first.Do({"INFO", "replication"}).text, "state=online");
  }));
  // Only now: it asks for replicas every ten seconds, and can't promote one that it does not know.
  TestServer sentinel(monitor, TestServer::Kind::kSentinel);
  ASSERT_TRUE(Eventually([&] {
    return sentinel.Do({"SENTINEL", "REPLICAS", "mail"}).elements.size() == 1;
  }));

  config::v1::Redis config = Patient(first.Config());
  config.set_addresses(0, "127.0.0.1:1");
  config.add_addresses(sentinel.address());
  config.mutable_sentinel()->set_master_name("mail");
  std::unique_ptr<Client> client = Open(config);
  ASSERT_TRUE(Eventually([&] { return client->Ready().ok(); })) << client->Ready();
  ASSERT_EQ(Set(*client, "postern:k", "v")->text, "OK");

  first.Kill();
  ASSERT_TRUE(Eventually([&] { return Set(*client, "postern:k", "w").ok(); })) << client->Ready();
  EXPECT_EQ(second.Do({"GET", "postern:k"}).text, "w");

  // A master that is demoted while it lives: it says READONLY, and is left.
  first.Start();
  ASSERT_TRUE(Eventually([&] {
    return absl::StrContains(second.Do({"INFO", "replication"}).text, "state=online");
  }));
  ASSERT_TRUE(Eventually([&] {
    return sentinel.Do({"SENTINEL", "FAILOVER", "mail"}).text == "OK";
  }));
  ASSERT_TRUE(Eventually([&] { return first.Do({"ROLE"}).elements[0].text == "master"; }));
  ASSERT_TRUE(Eventually([&] {
    return Set(*client, "postern:k", "x").ok() && first.Do({"GET", "postern:k"}).text == "x";
  })) << client->Ready();

  config.mutable_sentinel()->set_master_name("other");
  client = Open(config);
  ASSERT_TRUE(Eventually([&] { return client->Ready().message() != "not connected yet"; }));
  EXPECT_THAT(std::string(client->Ready().message()), HasSubstr("knows no master \"other\""));
}

class ClusterTest : public testing::Test {
 protected:
  static constexpr int kNodes = 3;

  void SetUp() override {
    for (int i = 0; i < kNodes; ++i) {
      // By default the port + 10000, which may be none.
      bus_ports_.push_back(absl::StrCat(FreePort()));
      nodes_.push_back(std::make_unique<TestServer>(
          absl::StrCat("cluster-enabled yes\ncluster-config-file nodes.conf\ntls-cluster yes\n",
                       "cluster-node-timeout 2000\ncluster-require-full-coverage no\ncluster-port ",
                       bus_ports_.back(), "\n")));
      ids_.push_back(nodes_[i]->Do({"CLUSTER", "MYID"}).text);
    }
    for (int i = 0; i < kNodes; ++i) {
      ASSERT_EQ(nodes_[i]
                    ->Do({"CLUSTER", "ADDSLOTSRANGE", absl::StrCat(i * 16384 / kNodes),
                          absl::StrCat((i + 1) * 16384 / kNodes - 1)})
                    .text,
                "OK");
      if (i == 0) continue;
      ASSERT_EQ(
          nodes_[0]
              ->Do({"CLUSTER", "MEET", "127.0.0.1", absl::StrCat(nodes_[i]->port()), bus_ports_[i]})
              .text,
          "OK");
    }
    for (const auto& node : nodes_) {
      ASSERT_TRUE(Eventually([&] {
        const std::string info = node->Do({"CLUSTER", "INFO"}).text;
        return absl::StrContains(info, "cluster_state:ok") &&
               absl::StrContains(info, "cluster_slots_ok:16384") &&
               absl::StrContains(info, "cluster_known_nodes:3");
      }));
    }
    config::v1::Redis config = Patient(nodes_[0]->Config());
    config.set_cluster(true);
    client_ = Open(config);
    ASSERT_TRUE(Eventually([&] { return client_->Ready().ok(); })) << client_->Ready();
  }

  static int NodeOf(absl::string_view key) { return SlotOf(key) * kNodes / 16384; }

  std::vector<std::string> bus_ports_;
  std::vector<std::unique_ptr<TestServer>> nodes_;
  std::vector<std::string> ids_;
  std::unique_ptr<Client> client_;
};

TEST_F(ClusterTest, EachKeyIsAskedForWhereItIs) {
  std::vector<int> counts(kNodes);
  for (int i = 0; i < 100; ++i) {
    const std::string key = absl::StrCat("postern:", i);
    const absl::StatusOr<Reply> set = Set(*client_, key, key);
    ASSERT_TRUE(set.ok()) << set.status();
    ASSERT_EQ(nodes_[NodeOf(key)]->Do({"GET", key}).text, key);
    ++counts[NodeOf(key)];
  }
  for (const int count : counts) EXPECT_GT(count, 0);
}

TEST_F(ClusterTest, ASlotThatMovesIsFollowed) {
  const std::string key = "postern:moves";
  ASSERT_EQ(Set(*client_, key, "v")->text, "OK");
  const int from = NodeOf(key);
  const int to = (from + 1) % kNodes;
  const std::string slot = absl::StrCat(SlotOf(key));
  const auto set_slot = [&](int node, const Command& how) {
    Command command = {"CLUSTER", "SETSLOT", slot};
    command.insert(command.end(), how.begin(), how.end());
    ASSERT_EQ(nodes_[node]->Do(command).text, "OK");
  };
  set_slot(to, {"IMPORTING", ids_[from]});
  set_slot(from, {"MIGRATING", ids_[to]});
  // What is still there is answered, what is not any more is asked for at the other (ASK).
  EXPECT_EQ(Get(*client_, key)->text, "v");
  ASSERT_EQ(nodes_[from]->Do({"DEL", key}).integer, 1);
  EXPECT_EQ(Set(*client_, key, "w")->text, "OK");
  EXPECT_EQ(Get(*client_, key)->text, "w");
  set_slot(to, {"NODE", ids_[to]});
  set_slot(from, {"NODE", ids_[to]});
  // MOVED.
  EXPECT_EQ(Get(*client_, key)->text, "w");
  EXPECT_EQ(nodes_[to]->Do({"GET", key}).text, "w");
}

TEST_F(ClusterTest, ANodeThatDiesTakesItsOwnKeysAlone) {
  std::vector<std::string> keys(kNodes);
  for (int i = 0; std::any_of(keys.begin(), keys.end(), [](auto& k) { return k.empty(); }); ++i) {
    const std::string key = absl::StrCat("postern:", i);
    keys[NodeOf(key)] = key;
  }
  nodes_[0]->Kill();
  ASSERT_TRUE(Eventually([&] { return !client_->Ready().ok(); }));
  EXPECT_TRUE(absl::IsUnavailable(Set(*client_, keys[0], "v").status()));
  EXPECT_TRUE(Eventually([&] { return Set(*client_, keys[1], "v").ok(); }));
  EXPECT_TRUE(Eventually([&] { return Set(*client_, keys[2], "v").ok(); }));
  nodes_[0]->Start();
  ASSERT_TRUE(Eventually([&] { return client_->Ready().ok(); })) << client_->Ready();
  EXPECT_TRUE(Eventually([&] { return Set(*client_, keys[0], "v").ok(); }));
}

}  // namespace
}  // namespace postern::storage::redis
