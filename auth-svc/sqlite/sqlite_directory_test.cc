#include "auth-svc/sqlite/sqlite_directory.h"

#include <stdlib.h>

#include <string>

#include "auth-svc/contract/directory_contract.h"
#include "gtest/gtest.h"

namespace postern::auth {
namespace {

std::string NewFile() {
  std::string folder = testing::TempDir() + "/sqlite_directory.XXXXXX";
  EXPECT_NE(mkdtemp(folder.data()), nullptr);
  return folder + "/directory.db";
}

std::unique_ptr<Directory> Open(const std::string& file) {
  auto directory = SqliteDirectory::Open(file, /*readers=*/2);
  EXPECT_TRUE(directory.ok()) << directory.status();
  return *std::move(directory);
}

INSTANTIATE_TEST_SUITE_P(Sqlite, DirectoryContract,
                         testing::Values(DirectoryFactory([] { return Open(NewFile()); })));

TEST(SqliteDirectory, FindsItsDataAgain) {
  const std::string file = NewFile();
  ASSERT_EQ(Open(file)->Write([](DirectoryWriter& w) {
    return w.InsertDomain({"example.test", true});
  }),
            absl::OkStatus());
  bool found = false;
  ASSERT_EQ(Open(file)->Read([&](DirectoryReader& r) {
    auto domain = r.FindDomain("example.test");
    found = domain.ok() && domain->has_value();
    return domain.status();
  }),
            absl::OkStatus());
  EXPECT_TRUE(found);
}

TEST(SqliteDirectory, TwoReplicasOnOneFileSeeEachOthersChanges) {
  const std::string file = NewFile();
  std::unique_ptr<Directory> one = Open(file);
  std::unique_ptr<Directory> other = Open(file);
  ASSERT_EQ(one->Write([](DirectoryWriter& w) {
    return w.InsertDomain({"one.test", true});
  }),
            absl::OkStatus());
  ASSERT_EQ(other->Write([](DirectoryWriter& w) {
    EXPECT_TRUE((*w.FindDomain("one.test")).has_value());
    return w.InsertDomain({"other.test", true});
  }),
            absl::OkStatus());
  ASSERT_EQ(one->Read([](DirectoryReader& r) {
    EXPECT_TRUE((*r.FindDomain("other.test")).has_value());
    return absl::OkStatus();
  }),
            absl::OkStatus());
}

TEST(SqliteDirectory, FileThatCannotBeMadeIsAnError) {
  EXPECT_FALSE(SqliteDirectory::Open("/nonexistent/directory.db", 1).ok());
}

}  // namespace
}  // namespace postern::auth
