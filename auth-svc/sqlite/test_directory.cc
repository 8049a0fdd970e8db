#include "auth-svc/sqlite/test_directory.h"

#include <stdlib.h>

#include <string>

#include "auth-svc/sqlite/sqlite_directory.h"
#include "gtest/gtest.h"

namespace postern::auth {

std::unique_ptr<Directory> MakeTestDirectory() {
  std::string folder = testing::TempDir() + "/directory.XXXXXX";
  EXPECT_NE(mkdtemp(folder.data()), nullptr);
  auto directory = SqliteDirectory::Open(folder + "/directory.db", /*readers=*/2);
  EXPECT_TRUE(directory.ok()) << directory.status();
  return directory.ok() ? *std::move(directory) : nullptr;
}

}  // namespace postern::auth
