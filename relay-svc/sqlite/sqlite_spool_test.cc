#include "relay-svc/sqlite/sqlite_spool.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "relay-svc/domain/spool_contract.h"

namespace postern::relay {
namespace {

std::unique_ptr<Spool> OpenInTestDirectory(const std::string& name, int64_t max_messages) {
  absl::StatusOr<std::unique_ptr<Spool>> spool = OpenSqliteSpool(
      absl::StrCat(testing::TempDir(), "/", name, ".db"), {.max_messages = max_messages});
  EXPECT_TRUE(spool.ok()) << spool.status();
  return spool.ok() ? *std::move(spool) : nullptr;
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Sqlite, SpoolContract, testing::Values(&OpenInTestDirectory));

TEST(SqliteSpoolTest, AFileThatIsNoDatabaseIsNamed) {
  EXPECT_FALSE(OpenSqliteSpool("/nonexistent/spool.db", {}).ok());
}

}  // namespace postern::relay
