#include "services/storage/sqlite/group_commit.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <atomic>
#include <csignal>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

namespace postern::storage {
namespace {

std::string FreshFile() {
  std::string folder = absl::StrCat(testing::TempDir(), "/group_commit.XXXXXX");
  EXPECT_NE(mkdtemp(folder.data()), nullptr);
  return folder + "/db";
}

class GroupCommitTest : public testing::Test {
 protected:
  GroupCommitTest() : file_(FreshFile()) {
    std::unique_ptr<Sqlite> database = *Sqlite::Open(file_, Sqlite::Mode::kReadWrite);
    EXPECT_TRUE(database->Execute("CREATE TABLE t (a UNIQUE, b)").ok());
  }

  void Start(GroupCommit::Options options = {}) {
    writer_ = std::make_unique<GroupCommit>(*Sqlite::Open(file_, Sqlite::Mode::kReadWrite),
                                            std::move(options));
  }

  // Holds the writer in a group of its own until Release, so that what is submitted meanwhile makes
  // one group.
  void Hold() {
    writer_->Submit(
        [this](Sqlite&) {
          held_.Notify();
          release_.WaitForNotification();
          return absl::OkStatus();
        },
        [](absl::Status) {});
    held_.WaitForNotification();
  }
  void Release() { release_.Notify(); }

  static GroupCommit::Write Insert(int64_t value, absl::Status then = absl::OkStatus()) {
    return [value, then](Sqlite& database) {
      absl::StatusOr<Statement*> insert = database.Prepare("INSERT INTO t VALUES (?, 0)");
      if (!insert.ok()) return insert.status();
      if (absl::Status status = (*insert)->Bind(1, value).Run(); !status.ok()) return status;
      return then;
    };
  }

  int64_t Number(absl::string_view sql) {
    std::unique_ptr<Sqlite> reader = *Sqlite::Open(file_, Sqlite::Mode::kReadOnly);
    Use use(*reader->Prepare(sql));
    EXPECT_TRUE(*use->Step());
    return use->Int(0);
  }

  // Submits, and waits for each to be done.
  std::vector<absl::Status> RunAsOneGroup(std::vector<GroupCommit::Write> writes) {
    std::vector<absl::Status> statuses(writes.size());
    absl::BlockingCounter left(writes.size());
    Hold();
    for (size_t i = 0; i < writes.size(); ++i) {
      writer_->Submit(std::move(writes[i]), [&, i](absl::Status status) {
        statuses[i] = std::move(status);
        left.DecrementCount();
      });
    }
    Release();
    left.Wait();
    return statuses;
  }

  const std::string file_;
  std::unique_ptr<GroupCommit> writer_;
  absl::Notification held_;
  absl::Notification release_;
};

TEST_F(GroupCommitTest, DoneMeansCommitted) {
  Start();
  absl::Notification done;
  int64_t seen = 0;
  writer_->Submit(Insert(1), [&](absl::Status status) {
    EXPECT_TRUE(status.ok()) << status;
    seen = Number("SELECT count(*) FROM t");
    done.Notify();
  });
  done.WaitForNotification();
  EXPECT_EQ(seen, 1) << "another connection sees it inside done";
}

TEST_F(GroupCommitTest, WhatWaitsIsOneTransaction) {
  Start();
  std::vector<GroupCommit::Write> writes;
  std::unique_ptr<Sqlite> reader = *Sqlite::Open(file_, Sqlite::Mode::kReadOnly);
  for (int i = 0; i < 10; ++i) {
    writes.push_back([i, &reader](Sqlite& database) {
      // Nothing of this group is visible to others before all of it is.
      Use use(*reader->Prepare("SELECT count(*) FROM t"));
      EXPECT_TRUE(*use->Step());
      EXPECT_EQ(use->Int(0), 0);
      return Insert(i)(database);
    });
  }
  for (const absl::Status& status : RunAsOneGroup(std::move(writes))) EXPECT_TRUE(status.ok());
  EXPECT_EQ(Number("SELECT count(*) FROM t"), 10);
}

TEST_F(GroupCommitTest, AWriteThatFailsIsAlone) {
  Start();
  std::vector<GroupCommit::Write> writes;
  writes.push_back(Insert(1));
  writes.push_back([](Sqlite&) { return absl::ResourceExhaustedError("refused"); });
  writes.push_back(Insert(2));
  writes.push_back(Insert(100, absl::AbortedError("after a change")));
  writes.push_back(Insert(1));
  writes.push_back(Insert(3));
  const std::vector<absl::Status> statuses = RunAsOneGroup(std::move(writes));
  EXPECT_TRUE(statuses[0].ok()) << statuses[0];
  EXPECT_EQ(statuses[1].code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(statuses[2].ok()) << statuses[2];
  EXPECT_EQ(statuses[3].code(), absl::StatusCode::kAborted);
  EXPECT_EQ(statuses[4].code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(statuses[5].ok()) << statuses[5];
  EXPECT_EQ(Number("SELECT count(*) FROM t"), 3);
  EXPECT_EQ(Number("SELECT sum(a) FROM t"), 6);
}

TEST_F(GroupCommitTest, OneMoreThanMayWaitIsRefusedAtOnce) {
  Start({.max_waiting = 3});
  absl::BlockingCounter accepted(3);
  Hold();
  for (int i = 0; i < 3; ++i) {
    writer_->Submit(Insert(i), [&](absl::Status status) {
      EXPECT_TRUE(status.ok()) << status;
      accepted.DecrementCount();
    });
  }
  absl::Status refused;
  writer_->Submit(Insert(3), [&](absl::Status status) { refused = std::move(status); });
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  Release();
  accepted.Wait();
  EXPECT_EQ(Number("SELECT count(*) FROM t"), 3);
}

TEST_F(GroupCommitTest, EndingItCommitsWhatWasAccepted) {
  Start({.max_group = 2});
  std::atomic<int> committed = 0;
  Hold();
  for (int i = 0; i < 7; ++i) {
    writer_->Submit(Insert(i), [&](absl::Status status) { committed += status.ok(); });
  }
  Release();
  writer_.reset();
  EXPECT_EQ(committed, 7);
  EXPECT_EQ(Number("SELECT count(*) FROM t"), 7);
}

TEST_F(GroupCommitTest, AFullDatabaseNeverSaysOk) {
  std::unique_ptr<Sqlite> database = *Sqlite::Open(file_, Sqlite::Mode::kReadWrite);
  ASSERT_TRUE(database->Execute("PRAGMA max_page_count=20").ok());
  writer_ = std::make_unique<GroupCommit>(std::move(database), GroupCommit::Options{});
  std::vector<GroupCommit::Write> writes;
  for (int i = 0; i < 4; ++i) {
    writes.push_back([i](Sqlite& connection) {
      return (*connection.Prepare("INSERT INTO t VALUES (?, zeroblob(30000))"))->Bind(1, i).Run();
    });
  }
  int ok = 0;
  for (const absl::Status& status : RunAsOneGroup(std::move(writes))) {
    ok += status.ok();
    EXPECT_TRUE(status.ok() || absl::IsResourceExhausted(status)) << status;
  }
  EXPECT_EQ(Number("SELECT count(*) FROM t"), ok);
  EXPECT_LT(ok, 4);
}

// The WAL can't grow: the commit itself fails, after every write succeeded.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t octets) {
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit = {octets, old_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_;
  void (*old_handler_)(int);
};

TEST_F(GroupCommitTest, ACommitThatFailsFailsAllAndTheNextIsGood) {
  Start();
  struct stat wal;
  absl::Notification first;
  writer_->Submit(Insert(1), [&](absl::Status) { first.Notify(); });
  first.WaitForNotification();
  ASSERT_EQ(stat((file_ + "-wal").c_str(), &wal), 0);
  {
    FileSizeLimit limit(wal.st_size);
    const std::vector<absl::Status> statuses = [&] {
      std::vector<GroupCommit::Write> writes;
      for (int i = 0; i < 5; ++i) writes.push_back(Insert(10 + i));
      writes.push_back(
          [](Sqlite&) { return absl::AbortedError("refused, perhaps for one of those"); });
      return RunAsOneGroup(std::move(writes));
    }();
    for (const absl::Status& status : statuses) {
      EXPECT_TRUE(absl::IsUnavailable(status) || absl::IsResourceExhausted(status)) << status;
    }
  }
  EXPECT_EQ(Number("SELECT count(*) FROM t"), 1);
  absl::Notification last;
  writer_->Submit(Insert(2), [&](absl::Status status) {
    EXPECT_TRUE(status.ok()) << status;
    last.Notify();
  });
  last.WaitForNotification();
  EXPECT_EQ(Number("SELECT count(*) FROM t"), 2);
}

TEST_F(GroupCommitTest, TheWalStaysBounded) {
  Start();
  constexpr int kWrites = 400;
  for (int i = 0; i < kWrites; ++i) {
    absl::Notification done;
    writer_->Submit(
        [i](Sqlite& database) {
          return (*database.Prepare("INSERT INTO t VALUES (?, zeroblob(200000))"))
              ->Bind(1, i)
              .Run();
        },
        [&](absl::Status status) {
          EXPECT_TRUE(status.ok()) << status;
          done.Notify();
        });
    done.WaitForNotification();
  }
  struct stat wal;
  ASSERT_EQ(stat((file_ + "-wal").c_str(), &wal), 0);
  EXPECT_LT(wal.st_size, 48 << 20) << "of 80 MB written";
  EXPECT_EQ(Number("SELECT count(*) FROM t"), kWrites);
}

}  // namespace
}  // namespace postern::storage
