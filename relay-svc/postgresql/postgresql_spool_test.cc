#include "relay-svc/postgresql/postgresql_spool.h"

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"
#include "relay-svc/domain/spool_contract.h"
#include "services/async/wait.h"
#include "services/storage/postgresql/connection.h"
#include "services/storage/postgresql/migrate.h"
#include "services/storage/postgresql/testing/citus.h"
#include "services/storage/postgresql/testing/test_server.h"

namespace postern::relay {
namespace {

using async::Done;
using async::DoneStatus;
using storage::postgresql::Connection;
using storage::postgresql::Pool;
using storage::postgresql::Server;
using storage::postgresql::TestServer;

struct Kind {
  const char* isolation = "read committed";
  bool partitioned = false;
  bool citus = false;
  bool returning_backwards = false;
};

// The one of that name, made when absent.
Server Database(const std::string& name, const Kind& kind) {
  static auto& databases = *new std::map<std::string, Server>;
  auto [found, fresh] = databases.try_emplace(name);
  if (!fresh) return found->second;
  Server server =
      kind.citus ? storage::postgresql::NewCitusDatabase() : TestServer::Shared().NewDatabase();
  if (!kind.citus) {
    TestServer::Shared().Administer(absl::StrCat(
        "ALTER ROLE ", server.user, " SET default_transaction_isolation = '", kind.isolation, "'"));
  }
  auto connection = Connection::Open(server);
  EXPECT_TRUE(connection.ok()) << connection.status();
  EXPECT_TRUE(storage::postgresql::Migrate(**connection, "relay-svc", SpoolMigrations()).ok());
  if (kind.citus) {
    const absl::Status status = storage::postgresql::DistributeByShard(**connection);
    EXPECT_TRUE(status.ok()) << status;
  }
  if (kind.partitioned) {
    const absl::Status status = storage::postgresql::PartitionByShard(**connection);
    EXPECT_TRUE(status.ok()) << status;
  }
  server.returning_backwards = kind.returning_backwards;
  return found->second = server;
}

struct Replica {
  Replica(const Server& server, int64_t max_messages)
      : pool(server, {.max_connections = kSpoolThreads}),
        spool(MakePostgresqlSpool(&pool, {.max_messages = max_messages})) {}

  Pool pool;
  std::unique_ptr<Spool> spool;
};

// Every call goes to the other replica than the one before.
class InTurn final : public Spool {
 public:
  InTurn(const Server& server, int64_t max_messages)
      : one_(server, max_messages), other_(server, max_messages) {}

  std::unique_ptr<SpoolWriter> NewMessageWriter() override { return next().NewMessageWriter(); }
  void FindDue(absl::Time now, DueCursor after, int limit, Done<DuePage> done) override {
    next().FindDue(now, std::move(after), limit, std::move(done));
  }
  void Claim(JobKey key, absl::Time now, absl::Time until, int max_running,
             Done<std::optional<Job>> done) override {
    next().Claim(std::move(key), now, until, max_running, std::move(done));
  }
  void Renew(std::vector<JobClaim> claims, absl::Time until, DoneStatus done) override {
    next().Renew(std::move(claims), until, std::move(done));
  }
  void ReadPiece(std::string queue_id, int64_t index, Done<std::string> done) override {
    next().ReadPiece(std::move(queue_id), index, std::move(done));
  }
  void Record(JobOutcome outcome, Done<Committed> done) override {
    next().Record(std::move(outcome), std::move(done));
  }
  void ForgetDeliveryIds(absl::Time before, DoneStatus done) override {
    next().ForgetDeliveryIds(before, std::move(done));
  }
  void List(int page_size, std::string page_token, Done<QueuePage> done) override {
    next().List(page_size, std::move(page_token), std::move(done));
  }
  void Get(std::string queue_id, Done<QueueEntry> done) override {
    next().Get(std::move(queue_id), std::move(done));
  }
  void SetHeld(std::string queue_id, bool held, DoneStatus done) override {
    next().SetHeld(std::move(queue_id), held, std::move(done));
  }
  void MakeDue(std::string queue_id, absl::Time now, DoneStatus done) override {
    next().MakeDue(std::move(queue_id), now, std::move(done));
  }
  void Delete(std::string queue_id, DoneStatus done) override {
    next().Delete(std::move(queue_id), std::move(done));
  }
  void Ping(DoneStatus done) override { next().Ping(std::move(done)); }
  int64_t messages() const override {
    EXPECT_TRUE(
        async::Wait<absl::Status>([&](auto done) { one_.spool->Ping(std::move(done)); }).ok());
    return one_.spool->messages();
  }

 private:
  Spool& next() { return calls_++ % 2 == 0 ? *one_.spool : *other_.spool; }

  Replica one_;
  Replica other_;
  std::atomic<size_t> calls_ = 0;
};

template <const Kind* kind>
std::unique_ptr<Spool> OpenKind(const std::string& name, int64_t max_messages) {
  return std::make_unique<InTurn>(Database(name, *kind), max_messages);
}

constexpr Kind kPlain;
constexpr Kind kSerializable{.isolation = "serializable"};
constexpr Kind kPartitioned{.partitioned = true};
constexpr Kind kCitus{.citus = true};
constexpr Kind kBackwards{.returning_backwards = true};

INSTANTIATE_TEST_SUITE_P(Postgresql, SpoolContract, testing::Values(&OpenKind<&kPlain>));
INSTANTIATE_TEST_SUITE_P(PostgresqlSerializable, SpoolContract,
                         testing::Values(&OpenKind<&kSerializable>));
INSTANTIATE_TEST_SUITE_P(PostgresqlPartitioned, SpoolContract,
                         testing::Values(&OpenKind<&kPartitioned>));
INSTANTIATE_TEST_SUITE_P(Citus, SpoolContract,
                         testing::ValuesIn(std::vector<OpenSpool>(
                             storage::postgresql::CitusIsInstalled() ? 1 : 0, &OpenKind<&kCitus>)));
INSTANTIATE_TEST_SUITE_P(PostgresqlReturningBackwards, SpoolContract,
                         testing::Values(&OpenKind<&kBackwards>));

std::unique_ptr<Spool> Open(const std::string& name, int64_t max_messages) {
  return OpenKind<&kPlain>(name, max_messages);
}

const absl::Time kNow = absl::FromUnixSeconds(1800000000);

absl::StatusOr<Committed> Enqueue(Spool& spool, const std::string& queue_id,
                                  const std::string& destination) {
  NewMessage message;
  message.message.queue_id = queue_id;
  message.message.enqueued_at = kNow;
  message.recipients = {{absl::StrCat("x@", destination), destination}};
  const std::unique_ptr<SpoolWriter> writer = spool.NewMessageWriter();
  EXPECT_TRUE(
      async::Wait<absl::Status>([&](auto done) { writer->Write("body", std::move(done)); }).ok());
  return async::Wait<absl::StatusOr<Committed>>(
      [&](auto done) { writer->Commit(message, std::move(done)); });
}

absl::StatusOr<std::optional<Job>> Claim(Spool& spool, const JobKey& key, int max_running) {
  return async::Wait<absl::StatusOr<std::optional<Job>>>([&](auto done) {
    spool.Claim(key, kNow, kNow + absl::Minutes(1), max_running, std::move(done));
  });
}

TEST(PostgresqlSpool, ADestinationsLimitHoldsOverReplicas) {
  const std::unique_ptr<Spool> spool = Open("limit", 100);
  for (const char* id : {"1", "2", "3"}) ASSERT_TRUE(Enqueue(*spool, id, "slow.test").ok());
  ASSERT_TRUE(Enqueue(*spool, "4", "other.test").ok());
  const absl::StatusOr<std::optional<Job>> first = Claim(*spool, {"1", "slow.test"}, 2);
  ASSERT_TRUE(first.ok() && first->has_value());
  ASSERT_TRUE(Claim(*spool, {"2", "slow.test"}, 2)->has_value());
  EXPECT_TRUE(absl::IsResourceExhausted(Claim(*spool, {"3", "slow.test"}, 2).status()));
  EXPECT_TRUE(Claim(*spool, {"4", "other.test"}, 2)->has_value());
  ASSERT_TRUE(async::Wait<absl::StatusOr<Committed>>([&](auto done) {
                JobOutcome outcome{"1", (*first)->claim};
                outcome.recipients = {{(*first)->recipients[0].id, RecipientOutcome::Kind::kWaiting,
                                       1, "later", kNow + absl::Hours(1)}};
                spool->Record(outcome, std::move(done));
              }).ok());
  EXPECT_TRUE(Claim(*spool, {"3", "slow.test"}, 2)->has_value());
}

TEST(PostgresqlSpool, EveryJobIsClaimedOnce) {
  constexpr int kMessages = 200;
  const std::unique_ptr<Spool> spool = Open("race", 1000);
  for (int i = 0; i < kMessages; ++i) {
    ASSERT_TRUE(Enqueue(*spool, absl::StrCat(i), "a.test").ok());
  }
  std::atomic<int> claimed = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kMessages; ++i) {
        const auto job = Claim(*spool, {absl::StrCat(i), "a.test"}, 0);
        ASSERT_TRUE(job.ok()) << job.status();
        claimed += job->has_value();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(claimed, kMessages);
}

TEST(PostgresqlSpool, TheQueuesSizeHoldsOverReplicas) {
  const std::unique_ptr<Spool> spool = Open("size", 10);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(Enqueue(*spool, absl::StrCat(i), "a.test").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Enqueue(*spool, "10", "a.test").status()));
  EXPECT_TRUE(absl::IsResourceExhausted(Enqueue(*spool, "11", "a.test").status()));
  ASSERT_TRUE(
      async::Wait<absl::Status>([&](auto done) { spool->Delete("3", std::move(done)); }).ok());
  EXPECT_TRUE(Enqueue(*spool, "12", "a.test").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Enqueue(*spool, "13", "a.test").status()));
}

}  // namespace
}  // namespace postern::relay
