#include "store-svc/postgresql/postgresql_mail_store.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/storage/postgresql/connection.h"
#include "services/storage/postgresql/pool.h"
#include "services/storage/postgresql/testing/citus.h"
#include "store-svc/domain/mail_store_contract.h"
#include "store-svc/postgresql/testing/test_database.h"

namespace postern::store {
namespace {

using storage::postgresql::Connection;
using storage::postgresql::Pool;
using storage::postgresql::Server;

struct Kind {
  TestDatabaseKind database;
  int32_t shard = 0;
};

class Replica {
 public:
  Replica(const Server& server, const MailStoreHarnessOptions& options)
      : pool_(server, {.max_connections = 8}),
        store_(MakePostgresqlMailStore(&pool_,
                                       {.quota = {options.quota_messages, options.quota_octets},
                                        .max_waiting = options.max_waiting},
                                       options.clock)) {}

  MailStore& store() { return *store_; }

 private:
  Pool pool_;
  std::unique_ptr<MailStore> store_;
};

// Every call goes to the other replica than the one before.
class InTurn final : public MailStore {
 public:
  InTurn(MailStore& one, MailStore& other) : stores_{&one, &other} {}

  void Deliver(Delivery delivery, absl::string_view body,
               absl::AnyInvocable<void(absl::StatusOr<DeliveryResult>)> done) override {
    next().Deliver(std::move(delivery), body, std::move(done));
  }
  std::unique_ptr<StagedBody> StageBody(const MailboxId& mailbox) override {
    return next().StageBody(mailbox);
  }
  absl::StatusOr<std::vector<MailboxId>> FindFull(absl::Span<const MailboxId> ids) override {
    return next().FindFull(ids);
  }
  absl::StatusOr<ListingStart> StartListing(const MailboxId& mailbox, size_t limit) override {
    return next().StartListing(mailbox, limit);
  }
  absl::StatusOr<std::vector<MessageEntry>> List(const MailboxId& mailbox, uint64_t after_uid,
                                                 uint64_t before_uid, size_t limit) override {
    return next().List(mailbox, after_uid, before_uid, limit);
  }
  absl::StatusOr<StoredMessage> Read(const MailboxId& mailbox, uint64_t uid) override {
    return next().Read(mailbox, uid);
  }
  absl::StatusOr<WholeMessages> ReadWhole(const MailboxId& mailbox, uint64_t uid,
                                          uint64_t before_uid, size_t limit,
                                          uint64_t max_octets) override {
    return next().ReadWhole(mailbox, uid, before_uid, limit, max_octets);
  }
  absl::StatusOr<std::string> ReadPiece(absl::string_view body, int64_t index) override {
    return next().ReadPiece(body, index);
  }
  void Delete(const MailboxId& mailbox, uint64_t fence, std::vector<uint64_t> uids,
              absl::AnyInvocable<void(absl::Status)> done) override {
    next().Delete(mailbox, fence, std::move(uids), std::move(done));
  }
  absl::StatusOr<MailboxUsage> Usage(const MailboxId& mailbox) override {
    return next().Usage(mailbox);
  }
  absl::StatusOr<std::vector<MailboxUsage>> ListMailboxes(const std::optional<MailboxId>& after,
                                                          size_t limit) override {
    return next().ListMailboxes(after, limit);
  }
  void SetQuota(const MailboxId& mailbox, const QuotaChange& change,
                absl::AnyInvocable<void(absl::Status)> done) override {
    next().SetQuota(mailbox, change, std::move(done));
  }
  void Purge(const MailboxId& mailbox,
             absl::AnyInvocable<void(absl::StatusOr<uint64_t>)> done) override {
    next().Purge(mailbox, std::move(done));
  }
  void ForgetDeliveries(absl::Time before, size_t limit,
                        absl::AnyInvocable<void(absl::StatusOr<size_t>)> done) override {
    next().ForgetDeliveries(before, limit, std::move(done));
  }
  absl::Status Check() override { return next().Check(); }

 private:
  MailStore& next() { return *stores_[calls_++ % 2]; }

  MailStore* const stores_[2];
  std::atomic<size_t> calls_ = 0;
};

class TwoReplicas final : public MailStoreHarness {
 public:
  TwoReplicas(const Kind& kind, const MailStoreHarnessOptions& options)
      : server_(NewMailDatabase(kind.database)), shard_(kind.shard), options_(options) {
    Reopen();
  }

  MailStore& store() override { return *both_; }
  void Reopen() override {
    both_.reset();
    other_.reset();
    one_.reset();
    one_ = std::make_unique<Replica>(server_, options_);
    other_ = std::make_unique<Replica>(server_, options_);
    both_ = std::make_unique<InTurn>(one_->store(), other_->store());
  }
  int32_t shard() const override { return shard_; }
  int64_t CountBodies() override {
    auto connection = Connection::Open(server_);
    EXPECT_TRUE(connection.ok()) << connection.status();
    const auto count = [&](const char* sql) {
      auto rows = (*connection)->Run(sql, {});
      EXPECT_TRUE(rows.ok()) << rows.status();
      return rows.ok() ? (*rows)->Int(0, 0) : -1;
    };
    EXPECT_EQ(count("SELECT count(*) FROM body_piece p WHERE NOT EXISTS "
                    "(SELECT 1 FROM body b WHERE b.shard = p.shard AND b.piece_key = p.piece_key) "
                    "AND NOT EXISTS (SELECT 1 FROM staged_body s WHERE s.shard = p.shard "
                    "AND s.piece_key = p.piece_key)"),
              0)
        << "no piece is left without a body";
    EXPECT_EQ(count("SELECT count(*) FROM body b WHERE reference_count <> (SELECT count(*) "
                    "FROM message m WHERE m.shard = b.shard AND m.sha256 = b.sha256)"),
              0)
        << "every body has its references";
    return count("SELECT (SELECT count(*) FROM body) + (SELECT count(*) FROM staged_body)");
  }

 private:
  const Server server_;
  const int32_t shard_;
  const MailStoreHarnessOptions options_;
  std::unique_ptr<Replica> one_;
  std::unique_ptr<Replica> other_;
  std::unique_ptr<InTurn> both_;
};

constexpr Kind kPlain;
constexpr Kind kSerializable{.database = {.isolation = "serializable"}, .shard = 7};
constexpr Kind kCitus{.database = {.citus = true}, .shard = 5};
constexpr Kind kBackwards{.database = {.returning_backwards = true}, .shard = 1};
constexpr Kind kPartitioned{.database = {.partitioned = true}, .shard = 70000};

template <const Kind* kind>
std::unique_ptr<MailStoreHarness> MakeHarness(const MailStoreHarnessOptions& options) {
  return std::make_unique<TwoReplicas>(*kind, options);
}

INSTANTIATE_TEST_SUITE_P(Postgresql, MailStoreContract, testing::Values(&MakeHarness<&kPlain>));
INSTANTIATE_TEST_SUITE_P(PostgresqlSerializable, MailStoreContract,
                         testing::Values(&MakeHarness<&kSerializable>));
INSTANTIATE_TEST_SUITE_P(PostgresqlReturningBackwards, MailStoreContract,
                         testing::Values(&MakeHarness<&kBackwards>));
INSTANTIATE_TEST_SUITE_P(Citus, MailStoreContract,
                         testing::ValuesIn(std::vector<MakeMailStoreHarness>(
                             storage::postgresql::CitusIsInstalled() ? 1 : 0,
                             &MakeHarness<&kCitus>)));
INSTANTIATE_TEST_SUITE_P(PostgresqlPartitioned, MailStoreContract,
                         testing::Values(&MakeHarness<&kPartitioned>));

class SpreadDelivery : public testing::Test {
 protected:
  static MailboxId Mailbox(int shard) {
    return *MailboxId::Parse(
        absl::StrCat(shard == 0 ? "" : absl::StrCat(shard, "-"), std::string(32, '1')));
  }
  static Delivery To(absl::string_view id, std::vector<int> shards) {
    Delivery delivery{.delivery_id = std::string(id)};
    for (const int shard : shards) delivery.recipients.push_back({Mailbox(shard), "P: x\r\n"});
    return delivery;
  }
  absl::StatusOr<DeliveryResult> Deliver(const Delivery& delivery, absl::string_view body) {
    return Await([&](auto done) { store().Deliver(delivery, body, std::move(done)); });
  }
  absl::StatusOr<DeliveryResult> Await(
      absl::FunctionRef<void(absl::AnyInvocable<void(absl::StatusOr<DeliveryResult>)>)> start) {
    absl::Notification done;
    absl::StatusOr<DeliveryResult> result;
    start([&](absl::StatusOr<DeliveryResult> answer) {
      result = std::move(answer);
      done.Notify();
    });
    done.WaitForNotification();
    return result;
  }
  uint64_t Messages(int shard) { return store().StartListing(Mailbox(shard), 10)->messages; }
  MailStore& store() { return harness_.store(); }

  TwoReplicas harness_{
      kPartitioned,
      {.quota_messages = 2, .quota_octets = 1 << 30, .max_waiting = 100, .clock = absl::Now}};
};

TEST_F(SpreadDelivery, ReachesEveryShardOnce) {
  for (const bool repeated : {false, true}) {
    const absl::StatusOr<DeliveryResult> result = Deliver(To("1", {0, 1, 2, 70000}), "body");
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->repeated, repeated);
    for (const int shard : {0, 1, 2, 70000}) EXPECT_EQ(Messages(shard), 1u) << shard;
  }
  EXPECT_EQ(store().Read(Mailbox(70000), 1)->first_piece, "body");
  EXPECT_TRUE(absl::IsAlreadyExists(Deliver(To("1", {0, 1, 2, 70000}), "other").status()));
  // What an earlier try left undone.
  EXPECT_FALSE(Deliver(To("1", {0, 3}), "body")->repeated);
  EXPECT_EQ(Messages(0), 1u);
  EXPECT_EQ(Messages(3), 1u);
}

TEST_F(SpreadDelivery, AFullMailboxRefusesItInAllShards) {
  ASSERT_TRUE(Deliver(To("1", {2}), "one").ok());
  ASSERT_TRUE(Deliver(To("2", {1, 2}), "two").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Deliver(To("3", {1, 2}), "three").status()));
  EXPECT_EQ(Messages(1), 1u);
  EXPECT_TRUE(Deliver(To("2", {1, 2}), "two")->repeated);
  // Members of one alias: one has room.
  Delivery alias = To("4", {1, 2});
  alias.leads_to = {{0, 1}};
  ASSERT_TRUE(Deliver(alias, "four").ok());
  EXPECT_EQ(Messages(1), 2u);
  EXPECT_EQ(Messages(2), 3u);
}

TEST_F(SpreadDelivery, ALargeBodyIsInEveryShard) {
  const std::string piece(kMaxPieceOctets, 'a');
  std::unique_ptr<StagedBody> body = store().StageBody(Mailbox(1));
  for (int i = 0; i < 2; ++i) {
    absl::Notification done;
    body->Append(piece, [&](absl::Status status) {
      EXPECT_TRUE(status.ok()) << status;
      done.Notify();
    });
    done.WaitForNotification();
  }
  const Delivery delivery = To("1", {0, 1, 2});
  const absl::StatusOr<DeliveryResult> result =
      Await([&](auto done) { body->Deliver(delivery, std::move(done)); });
  ASSERT_TRUE(result.ok()) << result.status();
  body.reset();
  harness_.Reopen();
  EXPECT_EQ(harness_.CountBodies(), 3);
  for (const int shard : {0, 1, 2}) {
    EXPECT_EQ(store().ReadWhole(Mailbox(shard), 1, 2, 1, 1 << 20)->messages.at(0).octets,
              "P: x\r\n" + piece + piece);
  }
}

}  // namespace
}  // namespace postern::store
