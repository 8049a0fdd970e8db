// Connection, Pool and Migrate on a real server.
#include <atomic>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/barrier.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/storage/postgresql/array.h"
#include "services/storage/postgresql/connection.h"
#include "services/storage/postgresql/database.h"
#include "services/storage/postgresql/migrate.h"
#include "services/storage/postgresql/pool.h"
#include "services/storage/postgresql/testing/test_server.h"

namespace postern::storage::postgresql {
namespace {

std::unique_ptr<Connection> Open(const Server& server) {
  absl::StatusOr<std::unique_ptr<Connection>> connection = Connection::Open(server);
  EXPECT_TRUE(connection.ok()) << connection.status();
  return connection.ok() ? *std::move(connection) : nullptr;
}

absl::Status Check(Pool& pool) { return pool.Query("SELECT 1", {}).status(); }

TEST(Connection, ValuesComeBackAsTheyWent) {
  const auto connection = Open(TestServer::Shared().NewDatabase());
  ASSERT_TRUE(connection->Execute("CREATE TABLE t (s int2, i int4, b int8, t text, o bytea)").ok());
  const std::string octets("\0\xff'\\", 4);
  for (const int64_t number : {int64_t{0}, int64_t{-32768}, int64_t{32767}}) {
    const auto inserted = connection->Run(
        "INSERT INTO t VALUES ($1, $2, $3, $4, $5)",
        {SqlValue::Int(number), SqlValue::Int(number * 65536), SqlValue::Int(number << 40),
         SqlValue::Text("gr\xC3\xBC\xC3\x9F e'"), SqlValue::Blob(octets)});
    ASSERT_TRUE(inserted.ok()) << inserted.status();
    EXPECT_EQ((*inserted)->changes(), 1);
    const auto rows = connection->Run("SELECT s, i, b, t, o, NULL, s = $1 FROM t WHERE s = $1",
                                      {SqlValue::Int(number)});
    ASSERT_TRUE(rows.ok()) << rows.status();
    ASSERT_EQ((*rows)->size(), 1u);
    EXPECT_EQ((*rows)->Int(0, 0), number);
    EXPECT_EQ((*rows)->Int(0, 1), number * 65536);
    EXPECT_EQ((*rows)->Int(0, 2), number << 40);
    EXPECT_EQ((*rows)->Octets(0, 3), "gr\xC3\xBC\xC3\x9F e'");
    EXPECT_EQ((*rows)->Octets(0, 4), octets);
    EXPECT_TRUE((*rows)->IsNull(0, 5));
    EXPECT_EQ((*rows)->Int(0, 6), 1);
  }
  EXPECT_GE(connection->server_version(), 130000);
}

TEST(Connection, ErrorsByTheirKind) {
  const auto connection = Open(TestServer::Shared().NewDatabase());
  ASSERT_TRUE(connection->Execute("CREATE TABLE t (i int PRIMARY KEY)").ok());
  ASSERT_TRUE(connection->Run("INSERT INTO t VALUES ($1)", {SqlValue::Int(1)}).ok());
  const absl::Status twice =
      connection->Run("INSERT INTO t VALUES ($1)", {SqlValue::Int(1)}).status();
  EXPECT_TRUE(absl::IsAlreadyExists(twice)) << twice;
  EXPECT_FALSE(absl::StrContains(twice.message(), "(1)")) << "no values: " << twice;
  EXPECT_EQ(connection->Execute("nonsense").code(), absl::StatusCode::kInternal);
  EXPECT_FALSE(connection->broken());
  EXPECT_TRUE(connection->Run("SELECT 1", {}).ok());
}

TEST(Connection, ManyStatementsInOneRoundTrip) {
  const auto connection = Open(TestServer::Shared().NewDatabase());
  ASSERT_TRUE(connection->Execute("CREATE TABLE t (o bytea PRIMARY KEY, i int8)").ok());
  Array octets = Array::Bytea();
  Array numbers = Array::Bigint();
  const std::string zero("\0\xff", 2);
  for (int i = 0; i < 1000; ++i) {
    octets.Add(absl::StrCat(zero, i));
    numbers.Add(int64_t{-1} << (i % 64));
  }
  const Array none = Array::Bytea();
  const Statement insert{"INSERT INTO t SELECT * FROM unnest($1::bytea[], $2::bigint[])",
                         {octets.value(), numbers.value()}};
  const Statement count{"SELECT count(*), min(i) FROM t", {}};
  const auto answers =
      connection->RunAll({{"BEGIN", {}},
                          insert,
                          count,
                          {"SELECT i FROM t WHERE o = ANY($1::bytea[])", {none.value()}},
                          {"SELECT i FROM t WHERE o = $1", {SqlValue::Blob(absl::StrCat(zero, 3))}},
                          {"COMMIT", {}}});
  ASSERT_TRUE(answers.ok()) << answers.status();
  ASSERT_EQ(answers->size(), 6u);
  EXPECT_EQ((*answers)[1]->changes(), 1000);
  EXPECT_EQ((*answers)[2]->Int(0, 0), 1000);
  EXPECT_EQ((*answers)[2]->Int(0, 1), std::numeric_limits<int64_t>::min());
  EXPECT_EQ((*answers)[3]->size(), 0u);
  EXPECT_EQ((*answers)[4]->Int(0, 0), -8);

  // An error, and what stands behind it; the connection is as good as before.
  const Statement behind{"SELECT 'never prepared before'", {}};
  EXPECT_TRUE(absl::IsAlreadyExists(
      connection->RunAll({{"DELETE FROM t", {}}, insert, insert, behind}).status()));
  EXPECT_FALSE(connection->broken());
  EXPECT_FALSE(connection->in_transaction());
  EXPECT_EQ((*connection->RunAll({behind, count}))[1]->Int(0, 0), 1000) << "all of it was undone";
  EXPECT_EQ((*connection->Run(count.sql, {}))->Int(0, 0), 1000);
}

// As of a client whose network lost every packet: what it had locked is free before others give up.
TEST(Connection, ATransactionWhoseClientIsSilentIsUndone) {
  const Server server = TestServer::Shared().NewDatabase();
  const auto silent = Open(server);
  const auto other = Open(server);
  ASSERT_TRUE(silent->Execute("CREATE TABLE t (i int)").ok());
  ASSERT_TRUE(silent->Execute("INSERT INTO t VALUES (1)").ok());
  ASSERT_TRUE(silent->Execute("BEGIN").ok());
  ASSERT_TRUE(silent->Execute("UPDATE t SET i = 2").ok());
  const absl::Time begun = absl::Now();
  absl::Status changed;
  do {
    changed = other->Execute("UPDATE t SET i = i + 10");
  } while (!changed.ok() && absl::Now() - begun < absl::Seconds(20));
  ASSERT_TRUE(changed.ok()) << changed;
  EXPECT_LT(absl::Now() - begun, absl::Seconds(10));
  EXPECT_EQ((*other->Run("SELECT i FROM t", {}))->Int(0, 0), 11);
  const absl::Status late = silent->Execute("COMMIT");
  EXPECT_TRUE(absl::IsUnavailable(late)) << late;
  EXPECT_TRUE(silent->broken());
}

TEST(Connection, WhyItCanNotBeOpened) {
  Server socket = TestServer::Shared().NewDatabase();
  socket.ca_file = TestServer::Shared().OverTls(socket).ca_file;
  EXPECT_TRUE(Connection::Open(socket).ok()) << "a socket has no TLS, whatever the setting";
  const Server good = TestServer::Shared().OverTls(TestServer::Shared().NewDatabase());
  ASSERT_TRUE(Connection::Open(good).ok()) << Connection::Open(good).status();
  const std::string wrong = testing::TempDir() + "/wrong";
  std::ofstream(wrong) << "wrong\n";
  struct Case {
    const char* what;
    void (*change)(Server&);
    absl::StatusCode code;
    const char* says;
  };
  for (const Case& c : std::vector<Case>{
           {"nobody listens", [](Server& s) { s.hosts = {"127.0.0.1:9"}; },
            absl::StatusCode::kUnavailable, "127.0.0.1"},
           {"no such database", [](Server& s) { s.database = "nothing"; },
            absl::StatusCode::kFailedPrecondition, "database \"nothing\""},
           {"a wrong password", [](Server& s) { s.password_file = testing::TempDir() + "/wrong"; },
            absl::StatusCode::kFailedPrecondition, "password authentication failed"},
           {"no password file", [](Server& s) { s.password_file = "/nowhere/password"; },
            absl::StatusCode::kInvalidArgument, "/nowhere/password"},
           {"another name", [](Server& s) { s.hosts[0].replace(0, 9, "127.0.0.2"); },
            absl::StatusCode::kFailedPrecondition, "does not match host name"},
           {"a network without TLS",
            [](Server& s) {
              s.ca_file = "";
              s.hosts = {"db.example.test"};
            },
            absl::StatusCode::kInvalidArgument, "ca_file"},
       }) {
    Server server = good;
    c.change(server);
    const absl::Status status = Connection::Open(server).status();
    EXPECT_EQ(status.code(), c.code) << c.what << ": " << status;
    EXPECT_TRUE(absl::StrContains(status.message(), c.says)) << c.what << ": " << status;
    EXPECT_FALSE(absl::StrContains(status.message(), "secret of")) << status;
    EXPECT_FALSE(absl::StrContains(status.message(), "\n")) << status;
  }
}

TEST(Pool, ATransactionIsAllOrNothing) {
  Pool pool(TestServer::Shared().NewDatabase(), {.max_connections = 2});
  const auto run = [&](absl::string_view sql) {
    return pool.Transact(Access::kWrite, [&](Sql& s) { return s.Run(sql, {}).status(); });
  };
  ASSERT_TRUE(run("CREATE TABLE t (i int)").ok());
  EXPECT_TRUE(absl::IsNotFound(pool.Transact(Access::kWrite, [](Sql& s) {
    EXPECT_TRUE(s.Run("INSERT INTO t VALUES (1)", {}).ok());
    return absl::NotFoundError("no");
  })));
  const auto count = [&] {
    int64_t counted = -1;
    EXPECT_TRUE(pool.Transact(Access::kRead,
                              [&](Sql& s) {
                                auto rows = s.Run("SELECT count(*) FROM t", {});
                                if (rows.ok()) counted = (*rows)->Int(0, 0);
                                return rows.status();
                              })
                    .ok());
    return counted;
  };
  EXPECT_EQ(count(), 0);
  EXPECT_TRUE(run("INSERT INTO t VALUES (1)").ok());
  EXPECT_EQ(count(), 1);
  EXPECT_FALSE(
      pool.Transact(Access::kRead, [](Sql& s) { return s.Run("DELETE FROM t", {}).status(); }).ok())
      << "a reader changes nothing";
  EXPECT_EQ(count(), 1);
}

TEST(Pool, WhenAllAreInUse) {
  Pool pool(TestServer::Shared().NewDatabase(),
            {.max_connections = 1, .patience = absl::Milliseconds(1)});
  EXPECT_TRUE(pool.Transact(Access::kRead,
                            [&](Sql&) {
                              const absl::Status second = Check(pool);
                              EXPECT_TRUE(absl::IsUnavailable(second)) << second;
                              EXPECT_TRUE(absl::StrContains(second.message(), "all 1 connections"));
                              return absl::OkStatus();
                            })
                  .ok());
  EXPECT_TRUE(Check(pool).ok());
}

// As when the DNS is away: what there is goes on serving all.
TEST(Pool, NobodyWaitsForAConnectionThatCanNotBeMade) {
  TestServer server;
  Pool pool(server.NewDatabase(), {.max_connections = 2, .patience = absl::Seconds(60)});
  ASSERT_TRUE(Check(pool).ok());
  std::thread other;
  absl::Notification asked;
  EXPECT_TRUE(pool.Transact(Access::kRead,
                            [&](Sql& sql) {
                              server.StopListening();
                              other = std::thread([&] {
                                asked.Notify();
                                EXPECT_TRUE(Check(pool).ok());
                              });
                              asked.WaitForNotification();
                              return sql.Run("SELECT 1", {}).status();
                            })
                  .ok());
  // The postmaster is still stopped: it had the one that came back.
  other.join();
  server.Continue();
}

// Two that would each undo what the other read: one loses, and goes again.
TEST(Pool, WhoLosesGoesAgain) {
  const Server server = TestServer::Shared().NewDatabase();
  TestServer::Shared().Administer(absl::StrCat(
      "ALTER ROLE ", server.user, " SET default_transaction_isolation = serializable"));
  Pool pool(server, {.max_connections = 2});
  ASSERT_TRUE(
      pool.Transact(Access::kWrite,
                    [](Sql& s) { return s.Run("CREATE TABLE t AS SELECT 0 AS i", {}).status(); })
          .ok());
  absl::Barrier* both = new absl::Barrier(2);
  std::atomic<int> attempts = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      bool first = true;
      const absl::Status status = pool.Transact(Access::kWrite, [&](Sql& s) {
        ++attempts;
        auto rows = s.Run("SELECT i FROM t", {});
        if (!rows.ok()) return rows.status();
        if (std::exchange(first, false) && both->Block()) delete both;
        return s.Run("UPDATE t SET i = $1", {SqlValue::Int((*rows)->Int(0, 0) + 1)}).status();
      });
      EXPECT_TRUE(status.ok()) << status;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(attempts, 3);
  EXPECT_TRUE(pool.Transact(Access::kRead,
                            [](Sql& s) {
                              auto rows = s.Run("SELECT i FROM t", {});
                              EXPECT_EQ((*rows)->Int(0, 0), 2);
                              return rows.status();
                            })
                  .ok());
}

TEST(Pool, AServerThatHangsIsLeftAndFoundAgain) {
  TestServer hanging;
  Server server = hanging.NewDatabase();
  server.statement_timeout = absl::Milliseconds(500);
  Pool pool(server, {.max_connections = 2});
  ASSERT_TRUE(Check(pool).ok());
  hanging.Stop();
  const absl::Time began = absl::Now();
  EXPECT_TRUE(absl::IsUnavailable(Check(pool)));
  EXPECT_LT(absl::Now() - began, absl::Seconds(10));
  const absl::Time next = absl::Now();
  EXPECT_TRUE(absl::IsUnavailable(Check(pool)));
  EXPECT_LT(absl::Now() - next, absl::Milliseconds(500)) << "nobody waits after another";
  hanging.Continue();
  while (!Check(pool).ok() && absl::Now() - next < absl::Seconds(10)) {
  }
  EXPECT_TRUE(Check(pool).ok());
  hanging.Kill();
  EXPECT_TRUE(absl::IsUnavailable(Check(pool)));
  hanging.Start();
  EXPECT_TRUE(Check(pool).ok());
}

TEST(Pool, WhatARestartBrokeIsNotLent) {
  TestServer restarted;
  const Server server = restarted.NewDatabase();
  Pool pool(server, {.max_connections = 3});
  ASSERT_TRUE(
      pool.Transact(
              Access::kRead,
              [&](Sql&) { return pool.Transact(Access::kRead, [&](Sql&) { return Check(pool); }); })
          .ok());
  for (int i = 0; i < 3; ++i) {
    restarted.Kill();
    restarted.Start();
    // Not repeated, so that it must not meet one of the three.
    const absl::Status status =
        pool.Transact(Access::kWrite, [](Sql& sql) { return sql.Run("SELECT 1", {}).status(); });
    EXPECT_TRUE(status.ok()) << status;
  }
}

TEST(Pool, AStatementThatTakesTooLongIsCancelled) {
  Server server = TestServer::Shared().NewDatabase();
  server.statement_timeout = absl::Milliseconds(200);
  Pool pool(server, {});
  const absl::Status status = pool.Transact(
      Access::kWrite, [](Sql& s) { return s.Run("SELECT pg_sleep(60)", {}).status(); });
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "statement timeout")) << status;
  EXPECT_TRUE(Check(pool).ok());
}

constexpr Migration kMigrations[] = {{1, "CREATE TABLE a (i int); INSERT INTO a VALUES (1)"},
                                     {2, "CREATE TABLE b (i int)"},
                                     {3, "INSERT INTO b SELECT i FROM a"}};

TEST(Migrate, SeveralAtOnceApplyEachOnce) {
  Server server = TestServer::Shared().NewDatabase();
  server.statement_timeout = absl::Minutes(1);
  std::atomic<int> applied = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const auto connection = Open(server);
      const absl::StatusOr<int> here = Migrate(*connection, "auth-svc", kMigrations);
      EXPECT_TRUE(here.ok()) << here.status();
      applied += here.value_or(0);
      EXPECT_TRUE(CheckSchema(*connection, "auth-svc", kMigrations).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(applied, 3);
  const auto rows = Open(server)->Run("SELECT count(*) FROM b", {});
  EXPECT_EQ((*rows)->Int(0, 0), 1);
}

TEST(Migrate, WhatDoesNotFitIsSaid) {
  const auto connection = Open(TestServer::Shared().NewDatabase());
  const auto says = [](const absl::Status& status, absl::string_view words) {
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), words)) << status;
  };
  const absl::Span<const Migration> all = kMigrations;
  says(CheckSchema(*connection, "auth-svc", all), "no schema yet: run auth-svc migrate");
  ASSERT_EQ(*Migrate(*connection, "auth-svc", all.first(1)), 1);
  says(CheckSchema(*connection, "auth-svc", all), "version 1, this program wants 3");
  says(CheckSchema(*connection, "store-svc", all), "the schema of auth-svc, not of store-svc");
  says(Migrate(*connection, "store-svc", all).status(), "the schema of auth-svc");
  ASSERT_EQ(*Migrate(*connection, "auth-svc", all), 2);
  EXPECT_TRUE(CheckSchema(*connection, "auth-svc", all.first(2)).ok()) << "one newer is fine";
  says(CheckSchema(*connection, "auth-svc", all.first(1)), "version 3, this program knows 2");
  says(Migrate(*connection, "auth-svc", all.first(2)).status(), "version 3");
}

TEST(Migrate, AStepThatFailsLeavesNothing) {
  const auto connection = Open(TestServer::Shared().NewDatabase());
  constexpr Migration kBroken[] = {{1, "CREATE TABLE a (i int)"},
                                   {2, "CREATE TABLE b (i int); SELECT nonsense"}};
  const absl::Status status = Migrate(*connection, "auth-svc", kBroken).status();
  EXPECT_TRUE(absl::StrContains(status.message(), "migration 2: ")) << status;
  EXPECT_TRUE(connection->Run("SELECT 1 FROM a", {}).ok());
  EXPECT_FALSE(connection->Run("SELECT 1 FROM b", {}).ok());
  EXPECT_FALSE(connection->in_transaction());
}

config::v1::PostgreSql ConfigOf(const Server& server) {
  config::v1::PostgreSql config = TestServer::Config(server);
  config.set_statement_timeout_seconds(1);
  return config;
}

absl::Status Await(const Database& database, bool ready) {
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (database.Ready().ok() != ready && absl::Now() < deadline) std::this_thread::yield();
  return database.Ready();
}

TEST(Database, WhatNoWaitingMendsIsSaidAtOnce) {
  const config::v1::PostgreSql good = ConfigOf(TestServer::Shared().NewDatabase());
  const auto open = [](const config::v1::PostgreSql& config) {
    return Database::Open(config, "auth-svc", kMigrations).status();
  };
  const absl::Status none = open(good);
  EXPECT_TRUE(absl::IsFailedPrecondition(none)) << none;
  EXPECT_TRUE(absl::StrContains(none.message(), "run auth-svc migrate")) << none;
  ASSERT_TRUE(MigrateDatabase(good, "auth-svc", kMigrations).ok());
  EXPECT_EQ(*MigrateDatabase(good, "auth-svc", kMigrations), "the schema has version 3 already");
  EXPECT_TRUE(open(good).ok()) << open(good);
  config::v1::PostgreSql config = good;
  config.set_database("nothing");
  EXPECT_TRUE(absl::IsFailedPrecondition(open(config))) << open(config);
  config = good;
  config.set_hosts(0, "db.example.test");
  EXPECT_TRUE(absl::StrContains(open(config).message(), "ca_file")) << open(config);
}

TEST(Database, AServerThatMayLoseWhatItCommittedIsRefused) {
  TestServer unsafe("fsync = off");
  config::v1::PostgreSql config = ConfigOf(unsafe.NewDatabase());
  ASSERT_TRUE(MigrateDatabase(config, "auth-svc", kMigrations).ok());
  const absl::Status refused = Database::Open(config, "auth-svc", kMigrations).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), "fsync = off")) << refused;
  config.set_allow_unsafe_durability(true);
  EXPECT_TRUE(Database::Open(config, "auth-svc", kMigrations).ok());
}

TEST(Database, AServerThatIsAwayIsLookedFor) {
  TestServer server;
  const config::v1::PostgreSql config = ConfigOf(server.NewDatabase());
  ASSERT_TRUE(MigrateDatabase(config, "auth-svc", kMigrations).ok());
  server.Kill();
  const auto database = Database::Open(config, "auth-svc", kMigrations);
  ASSERT_TRUE(database.ok()) << database.status();
  EXPECT_FALSE((*database)->Ready().ok());
  server.Start();
  EXPECT_TRUE(Await(**database, true).ok());
  // While it hangs, who asks is told at once, once it is known.
  server.Stop();
  EXPECT_FALSE(Await(**database, false).ok());
  const absl::Time began = absl::Now();
  EXPECT_TRUE(absl::IsUnavailable(
      (*database)->pool().Transact(Access::kRead, [](Sql&) { return absl::OkStatus(); })));
  EXPECT_LT(absl::Now() - began, absl::Seconds(1));
  server.Continue();
  EXPECT_TRUE(Await(**database, true).ok());
}

// Its synchronous standby is away: it reads as ever.
TEST(Database, AServerThatDoesNotCommitIsAway) {
  TestServer server;
  const config::v1::PostgreSql config = ConfigOf(server.NewDatabase());
  ASSERT_TRUE(MigrateDatabase(config, "auth-svc", kMigrations).ok());
  const auto database = Database::Open(config, "auth-svc", kMigrations);
  ASSERT_TRUE(database.ok()) << database.status();
  ASSERT_TRUE(Await(**database, true).ok());
  server.Administer("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
  server.Administer("SELECT pg_reload_conf()");
  EXPECT_FALSE(Await(**database, false).ok());
  server.Administer("ALTER SYSTEM RESET synchronous_standby_names");
  server.Administer("SELECT pg_reload_conf()");
  EXPECT_TRUE(Await(**database, true).ok());
}

}  // namespace
}  // namespace postern::storage::postgresql
