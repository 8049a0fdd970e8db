#include "store-svc/postgresql/postgresql_leases.h"

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/storage/postgresql/connection.h"
#include "services/storage/postgresql/pool.h"
#include "services/storage/postgresql/testing/citus.h"
#include "store-svc/domain/leases_contract.h"
#include "store-svc/domain/mail_store.h"
#include "store-svc/postgresql/postgresql_mail_store.h"
#include "store-svc/postgresql/testing/test_database.h"

namespace postern::store {
namespace {

using storage::postgresql::Connection;
using storage::postgresql::Pool;
using storage::postgresql::Server;

const MailboxId kAlice = *MailboxId::Parse("0000000000000000000000000000000a");

void Execute(const Server& server, const std::string& sql) {
  auto connection = Connection::Open(server);
  ASSERT_TRUE(connection.ok()) << connection.status();
  const absl::Status status = (*connection)->Execute(sql);
  ASSERT_TRUE(status.ok()) << status;
}

// A replica.
struct Replica {
  Replica(const Server& server, const PostgresqlLeases::Options& options)
      : pool(server, {}), leases(&pool, options) {}

  Pool pool;
  PostgresqlLeases leases;
};

// Every call goes to the other replica than the one before.
class InTurn final : public Leases {
 public:
  InTurn(Leases& one, Leases& other) : leases_{&one, &other} {}

  void Take(const MailboxId& mailbox, absl::string_view credential, HoldDone done) override {
    next().Take(mailbox, credential, std::move(done));
  }
  void Resume(uint64_t fence, absl::string_view credential, TokenMailbox claimed,
              HoldDone done) override {
    next().Resume(fence, credential, claimed, std::move(done));
  }
  void ResumeFormer(const MailboxId& mailbox, uint64_t fence, absl::string_view credential,
                    HoldDone done) override {
    next().ResumeFormer(mailbox, fence, credential, std::move(done));
  }
  void Find(uint64_t fence, absl::string_view credential, TokenMailbox claimed,
            MailboxDone done) override {
    next().Find(fence, credential, claimed, std::move(done));
  }
  void Pin(uint64_t fence, absl::string_view credential, TokenMailbox claimed,
           MailboxDone done) override {
    next().Pin(fence, credential, claimed, std::move(done));
  }
  void Unpin(uint64_t fence) override { next().Unpin(fence); }
  void EndSession(const Hold& hold, absl::AnyInvocable<void(std::optional<Ended>)> done) override {
    next().EndSession(hold, std::move(done));
  }
  void BreakStream(const Hold& hold, Done done) override {
    next().BreakStream(hold, std::move(done));
  }
  void PutBackBroken(Ended ended, Done done) override {
    next().PutBackBroken(std::move(ended), std::move(done));
  }
  size_t size() const override { return leases_[0]->size() + leases_[1]->size(); }

 private:
  Leases& next() { return *leases_[calls_++ % 2]; }

  Leases* const leases_[2];
  std::atomic<size_t> calls_ = 0;
};

class TwoReplicas final : public LeasesHarness {
 public:
  explicit TwoReplicas(const TestDatabaseKind& kind = {}) : server_(NewMailDatabase(kind)) {}

  Leases& leases() override { return both_; }
  void Pass(absl::Duration time) override {
    // Without a time zone of the session's: what a distributed table's columns meet is immutable.
    Execute(server_,
            absl::StrCat(
                "UPDATE lease SET free_after = (free_after AT TIME ZONE 'UTC' - interval '",
                absl::ToInt64Seconds(time), " s') AT TIME ZONE 'UTC' WHERE isfinite(free_after)"));
  }

 private:
  const Server server_;
  Replica one_{server_, {.grace = kGrace}};
  Replica other_{server_, {.grace = kGrace}};
  InTurn both_{one_.leases, other_.leases};
};

INSTANTIATE_TEST_SUITE_P(Postgresql, LeasesContract,
                         testing::Values(+[]() -> std::unique_ptr<LeasesHarness> {
                           return std::make_unique<TwoReplicas>();
                         }));

INSTANTIATE_TEST_SUITE_P(
    Citus, LeasesContract,
    testing::ValuesIn(std::vector<MakeLeasesHarness>(
        storage::postgresql::CitusIsInstalled() ? 1 : 0, +[]() -> std::unique_ptr<LeasesHarness> {
          return std::make_unique<TwoReplicas>(TestDatabaseKind{.citus = true});
        })));

TEST(PostgresqlLeases, ASilentReplicasLeasesAreTakenOver) {
  const Server server = NewMailDatabase();
  Replica silent(server, {.life = absl::Seconds(1), .heartbeat = absl::Hours(1)});
  Replica other(server, {});
  const Leases::Hold held = *AwaitedLeases(&silent.leases).Take(kAlice, "one");
  AwaitedLeases leases(&other.leases);
  absl::StatusOr<Leases::Hold> taken = leases.Take(kAlice, "two");
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (absl::IsAborted(taken.status()) && absl::Now() < deadline) {
    taken = leases.Take(kAlice, "two");
  }
  ASSERT_TRUE(taken.ok()) << taken.status();
  // What it does when it comes back.
  AwaitedLeases late(&silent.leases);
  EXPECT_TRUE(absl::IsFailedPrecondition(late.Pin(kAlice, held.fence, "one").status()));
  EXPECT_FALSE(late.EndSession(held).has_value());
  EXPECT_TRUE(leases.Find(kAlice, taken->fence, "two").ok());
}

TEST(PostgresqlLeases, ALivingReplicasLeasesAreNot) {
  const Server server = NewMailDatabase();
  Replica one(server, {.life = absl::Seconds(1), .heartbeat = absl::Milliseconds(100)});
  Replica other(server, {});
  const Leases::Hold held = *AwaitedLeases(&one.leases).Take(kAlice, "one");
  const absl::Time end = absl::Now() + absl::Seconds(2);
  while (absl::Now() < end) {
    ASSERT_TRUE(absl::IsAborted(AwaitedLeases(&other.leases).Take(kAlice, "two").status()));
  }
  EXPECT_TRUE(AwaitedLeases(&one.leases).Find(kAlice, held.fence, "one").ok());
}

TEST(PostgresqlLeases, AReplicaThatEndsLeavesNothingLocked) {
  const Server server = NewMailDatabase();
  uint64_t fence = 0;
  {
    Replica one(server, {});
    fence = AwaitedLeases(&one.leases).Take(kAlice, "one")->fence;
  }
  Replica other(server, {});
  AwaitedLeases leases(&other.leases);
  // Its session goes on elsewhere, if it comes before another.
  EXPECT_TRUE(leases.Resume(kAlice, fence, "one").ok());
}

TEST(PostgresqlLeases, TheFenceIsCheckedWhereItDeletes) {
  const Server server = NewMailDatabase();
  Replica one(server, {});
  const std::unique_ptr<MailStore> store =
      MakePostgresqlMailStore(&one.pool, {}, [] { return absl::Now(); });
  const auto await = [](auto start) {
    absl::Notification done;
    absl::Status status;
    start([&](auto answer) {
      if constexpr (std::is_same_v<decltype(answer), absl::Status>) {
        status = answer;
      } else {
        status = answer.status();
      }
      done.Notify();
    });
    done.WaitForNotification();
    return status;
  };
  ASSERT_TRUE(await([&](auto done) {
                store->Deliver({.delivery_id = "1", .recipients = {{kAlice, "P: x\r\n"}}}, "body",
                               [done](absl::StatusOr<DeliveryResult> result) { done(result); });
              }).ok());
  const auto remove = [&](uint64_t fence, std::vector<uint64_t> uids) {
    return await([&](auto done) {
      store->Delete(kAlice, fence, uids, [done](absl::Status status) { done(status); });
    });
  };
  AwaitedLeases leases(&one.leases);
  const Leases::Hold first = *leases.Take(kAlice, "one");
  leases.EndSession(first);
  EXPECT_TRUE(absl::IsFailedPrecondition(remove(first.fence, {1}))) << "it ended";
  const Leases::Hold second = *leases.Take(kAlice, "two");
  EXPECT_TRUE(absl::IsFailedPrecondition(remove(first.fence, {1}))) << "another has it";
  EXPECT_TRUE(
      absl::IsFailedPrecondition(remove(first.fence, std::vector<uint64_t>(1000, uint64_t{1}))));
  EXPECT_EQ(store->StartListing(kAlice, 10)->messages, 1u);
  EXPECT_TRUE(remove(second.fence, {1}).ok());
  EXPECT_EQ(store->StartListing(kAlice, 10)->messages, 0u);
}

}  // namespace
}  // namespace postern::store
