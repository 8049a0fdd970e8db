#include "store-svc/sqlite/sqlite_mail_store.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/storage/sqlite/sqlite.h"
#include "store-svc/domain/mail_store_contract.h"
#include "store-svc/domain/retention.h"

namespace postern::store {
namespace {

std::string FreshFile() {
  std::string folder = absl::StrCat(testing::TempDir(), "/mail_store.XXXXXX");
  EXPECT_NE(mkdtemp(folder.data()), nullptr);
  return folder + "/mail.db";
}

int64_t Number(const std::string& file, absl::string_view sql) {
  std::unique_ptr<storage::Sqlite> reader =
      *storage::Sqlite::Open(file, storage::Sqlite::Mode::kReadOnly);
  storage::Use use(*reader->Prepare(sql));
  EXPECT_TRUE(*use->Step());
  return use->Int(0);
}

class SqliteHarness : public MailStoreHarness {
 public:
  explicit SqliteHarness(const MailStoreHarnessOptions& options)
      : options_{.file = FreshFile(),
                 .quota_messages = options.quota_messages,
                 .quota_octets = options.quota_octets,
                 .max_waiting = options.max_waiting},
        clock_(options.clock) {
    Reopen();
  }

  MailStore& store() override { return *store_; }
  void Reopen() override {
    store_.reset();
    absl::StatusOr<OpenedMailStore> opened = OpenSqliteMailStore(options_, clock_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = std::move(opened->store);
  }
  int64_t CountBodies() override {
    // Every body has its pieces, and no piece is left without one.
    EXPECT_EQ(Number(options_.file,
                     "SELECT count(*) FROM body_piece WHERE piece_id / 65536 NOT IN "
                     "(SELECT body_id FROM body)"),
              0);
    return Number(options_.file, "SELECT count(*) FROM body");
  }

 private:
  const SqliteMailStoreOptions options_;
  const process::Clock clock_;
  std::unique_ptr<MailStore> store_;
};

std::unique_ptr<MailStoreHarness> MakeSqliteHarness(const MailStoreHarnessOptions& options) {
  return std::make_unique<SqliteHarness>(options);
}

INSTANTIATE_TEST_SUITE_P(Sqlite, MailStoreContract, testing::Values(&MakeSqliteHarness));

TEST(SqliteMailStore, TheLeaseEpochGrowsWithEveryStart) {
  const SqliteMailStoreOptions options{.file = FreshFile()};
  uint64_t last = 0;
  for (int i = 0; i < 3; ++i) {
    absl::StatusOr<OpenedMailStore> opened = OpenSqliteMailStore(options, process::SystemClock());
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_GT(opened->lease_epoch, last);
    last = opened->lease_epoch;
  }
}

TEST(SqliteMailStore, AMailboxsOwnQuotaWins) {
  const SqliteMailStoreOptions options{.file = FreshFile(), .quota_messages = 1};
  std::unique_ptr<MailStore> store =
      std::move(OpenSqliteMailStore(options, process::SystemClock())->store);
  const MailboxId id = *MailboxId::Parse("000102030405060708090a0b0c0d0e0f");
  const auto deliver = [&](absl::string_view name) {
    absl::Notification done;
    absl::Status status;
    store->Deliver({.delivery_id = std::string(name), .recipients = {{id, "P: x\r\n"}}}, "body",
                   [&](absl::StatusOr<DeliveryResult> result) {
                     status = result.status();
                     done.Notify();
                   });
    done.WaitForNotification();
    return status;
  };
  ASSERT_TRUE(deliver("1").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(deliver("2")));
  std::unique_ptr<storage::Sqlite> writer =
      *storage::Sqlite::Open(options.file, storage::Sqlite::Mode::kReadWrite);
  ASSERT_TRUE(writer->Execute("UPDATE mailbox SET quota_messages = 2").ok());
  EXPECT_TRUE(deliver("2").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(deliver("3")));
}

TEST(SqliteMailStore, AFullDiskIsNoQuota) {
  const std::string folder = absl::StrCat(testing::TempDir(), "/full-disk");
  ASSERT_EQ(mkdir(folder.c_str(), 0700), 0);
  // A small file system of this thread's, and of those that it starts.
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", folder.c_str(), "tmpfs", 0, "size=2m") != 0) {
    GTEST_SKIP() << "may not mount";
  }
  std::unique_ptr<MailStore> store =
      std::move(OpenSqliteMailStore({.file = folder + "/mail.db"}, process::SystemClock())->store);
  const MailboxId id = *MailboxId::Parse("000102030405060708090a0b0c0d0e0f");
  absl::BitGen random;
  absl::Status status;
  size_t delivered = 0;
  while (status.ok() && delivered < 100) {
    std::string body(100 << 10, '\0');
    for (char& octet : body) octet = absl::Uniform<unsigned char>(random);
    absl::Notification done;
    store->Deliver({.delivery_id = absl::StrCat(delivered), .recipients = {{id, "P: x\r\n"}}}, body,
                   [&](absl::StatusOr<DeliveryResult> result) {
                     status = result.status();
                     done.Notify();
                   });
    done.WaitForNotification();
    delivered += status.ok();
  }
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_EQ(store->Usage(id)->messages, delivered) << "what was committed is there";
  store.reset();
  EXPECT_EQ(umount(folder.c_str()), 0);
}

TEST(Retention, ForgetsWhatIsOldEnoughInBatchesAndNothingElse) {
  const std::string file = FreshFile();
  std::atomic<int64_t> now = 1700000000;
  const process::Clock clock = [&now] { return absl::FromUnixSeconds(now); };
  std::unique_ptr<MailStore> store = std::move(OpenSqliteMailStore({.file = file}, clock)->store);
  {
    std::unique_ptr<storage::Sqlite> writer =
        *storage::Sqlite::Open(file, storage::Sqlite::Mode::kReadWrite);
    ASSERT_TRUE(writer
                    ->Execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                              "WHERE i < 3000) INSERT INTO delivery (delivery_id, digest, "
                              "committed_at) SELECT i, x'', 1700000000 + i FROM n")
                    .ok());
  }
  now = now + 1000 + 2001;
  Retention retention(store.get(), clock, absl::Seconds(1000), absl::Milliseconds(1));
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (Number(file, "SELECT count(*) FROM delivery") > 1000 && absl::Now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_EQ(Number(file, "SELECT count(*) FROM delivery"), 1000);
  EXPECT_EQ(Number(file, "SELECT min(committed_at) FROM delivery"), 1700002001);
}

TEST(SqliteMailStore, AFileOfANewerProgramIsLeftAlone) {
  const SqliteMailStoreOptions options{.file = FreshFile()};
  ASSERT_TRUE(OpenSqliteMailStore(options, process::SystemClock()).ok());
  {
    std::unique_ptr<storage::Sqlite> writer =
        *storage::Sqlite::Open(options.file, storage::Sqlite::Mode::kReadWrite);
    ASSERT_TRUE(writer->Execute("PRAGMA user_version = 1000").ok());
  }
  EXPECT_TRUE(
      absl::IsFailedPrecondition(OpenSqliteMailStore(options, process::SystemClock()).status()));
}

}  // namespace
}  // namespace postern::store
