#include "services/storage/sqlite/reader_pool.h"

#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

namespace postern::storage {
namespace {

class ReaderPoolTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = absl::StrCat(testing::TempDir(), "/readers.XXXXXX");
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    file_ = folder + "/db";
  }

  std::unique_ptr<Sqlite> MakeFile() {
    std::unique_ptr<Sqlite> writer = *Sqlite::Open(file_, Sqlite::Mode::kReadWrite);
    EXPECT_TRUE(writer->Execute("CREATE TABLE t (a); INSERT INTO t VALUES (5)").ok());
    return writer;
  }

  std::string file_;
};

TEST_F(ReaderPoolTest, LendsWhatOnlyReads) {
  std::unique_ptr<Sqlite> writer = MakeFile();
  std::unique_ptr<ReaderPool> pool = *ReaderPool::Open(file_, 1);
  ReaderPool::Lent reader(*pool);
  Use use(*reader->Prepare("SELECT a FROM t"));
  ASSERT_TRUE(*use->Step());
  EXPECT_EQ(use->Int(0), 5);
  EXPECT_FALSE((*reader).Execute("INSERT INTO t VALUES (6)").ok());
}

TEST_F(ReaderPoolTest, OneMoreWaitsForTheFirstThatIsReturned) {
  std::unique_ptr<Sqlite> writer = MakeFile();
  std::unique_ptr<ReaderPool> pool = *ReaderPool::Open(file_, 2);
  auto first = std::make_unique<ReaderPool::Lent>(*pool);
  const ReaderPool::Lent second(*pool);
  EXPECT_NE(&**first, &*second);
  const Sqlite* const returned = &**first;
  const Sqlite* lent = nullptr;
  absl::Notification had_it;
  std::thread third([&] {
    const ReaderPool::Lent reader(*pool);
    lent = &*reader;
    had_it.Notify();
  });
  EXPECT_FALSE(had_it.HasBeenNotified());
  first.reset();
  third.join();
  EXPECT_EQ(lent, returned);
}

TEST_F(ReaderPoolTest, AFileThatIsNotThereIsAnError) {
  EXPECT_FALSE(ReaderPool::Open(file_, 1).ok());
}

}  // namespace
}  // namespace postern::storage
