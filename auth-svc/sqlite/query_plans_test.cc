// That a directory of a million costs what one of a thousand does: each query goes by an index to
// what it wants. SQLite says so itself (EXPLAIN QUERY PLAN).
#include <stdlib.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "auth-svc/sql/queries.h"
#include "auth-svc/sqlite/sqlite_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/storage/sqlite/sqlite.h"
#include "services/storage/sqlite/sqlite_sql.h"

namespace postern::auth {
namespace {

using testing::HasSubstr;
using testing::Not;

// Runs what it is told to, and notes the plan.
class Explained final : public storage::Sql {
 public:
  explicit Explained(storage::Sqlite& database) : sql_(database) {}

  absl::StatusOr<std::unique_ptr<storage::SqlRows>> Run(
      absl::string_view sql, absl::Span<const storage::SqlValue> values) override {
    const auto steps = sql_.Run(absl::StrCat("EXPLAIN QUERY PLAN ", sql), values);
    if (!steps.ok()) return steps.status();
    for (size_t i = 0; i < (*steps)->size(); ++i) {
      absl::StrAppend(&plan, (*steps)->Octets(i, 3), "\n");
    }
    return sql_.Run(sql, values);
  }

  std::string plan;

 private:
  storage::SqliteSql sql_;
};

class QueryPlans : public testing::Test {
 protected:
  QueryPlans() {
    std::string folder = testing::TempDir() + "/query_plans.XXXXXX";
    EXPECT_NE(mkdtemp(folder.data()), nullptr);
    const std::string file = folder + "/directory.db";
    EXPECT_TRUE(SqliteDirectory::Open(file, /*readers=*/1).ok());
    auto database = storage::Sqlite::Open(file, storage::Sqlite::Mode::kReadWrite);
    EXPECT_TRUE(database.ok()) << database.status();
    database_ = *std::move(database);
  }

  // Of the statements that `body` runs.
  template <typename Body>
  std::string PlanOf(Body body) {
    Explained sql(*database_);
    Queries queries(sql);
    EXPECT_TRUE(body(queries).ok());
    return sql.plan;
  }

  std::unique_ptr<storage::Sqlite> database_;
  const Address alice_{"alice", "example.test"};
};

TEST_F(QueryPlans, OneAddressIsFoundByIndex) {
  EXPECT_THAT(PlanOf([&](Queries& q) { return q.FindAccount(alice_); }),
              HasSubstr("(domain=? AND local_part=?)"));
  EXPECT_THAT(PlanOf([&](Queries& q) { return q.FindAlias(alice_); }), Not(HasSubstr("SCAN")));
  EXPECT_THAT(PlanOf([&](Queries& q) { return q.FindAccountById("id"); }), Not(HasSubstr("SCAN")));
  EXPECT_THAT(PlanOf([&](Queries& q) { return q.FindAccountByOrigin("staff", "id"); }),
              HasSubstr("(source=? AND source_id=?)"));
  EXPECT_THAT(PlanOf([&](Queries& q) { return q.FindAliasesTo(alice_, 10); }),
              Not(HasSubstr("SCAN")));
  EXPECT_THAT(PlanOf([&](Queries& q) { return q.FindForwardTo("elsewhere.test"); }),
              HasSubstr("COVERING INDEX alias_forward_by_domain (forward_domain=?)"));
}

TEST_F(QueryPlans, PageBeginsWhereItsIndexLeads) {
  EXPECT_THAT(PlanOf([&](Queries& q) { return q.ListAccounts("", alice_, 10); }),
              HasSubstr("((domain,local_part)>(?,?))"));
  EXPECT_THAT(PlanOf([&](Queries& q) { return q.ListAccounts("example.test", alice_, 10); }),
              HasSubstr("(domain=? AND local_part>?)"));
  EXPECT_THAT(PlanOf([&](Queries& q) { return q.ListAliases("example.test", alice_, 10); }),
              HasSubstr("(domain=? AND local_part>?)"));
}

// Anybody may write to postmaster.
TEST_F(QueryPlans, OldestAccountIsTheFirstOfAnIndex) {
  EXPECT_THAT(PlanOf([](Queries& q) { return q.FindOldestAccount(""); }),
              HasSubstr("SCAN account USING INDEX account_by_age\n"));
  const std::string plan = PlanOf([](Queries& q) { return q.FindOldestAccount("example.test"); });
  EXPECT_THAT(plan, HasSubstr("USING INDEX account_by_age_in_domain"));
  EXPECT_THAT(plan, Not(HasSubstr("TEMP B-TREE")));
}

// The answers kept are walked over, in an index; none is looked up or copied.
TEST_F(QueryPlans, ForgettingAnswersLooksUpOnlyThose) {
  const std::string plan = PlanOf([&](Queries& q) {
    return q.InsertRequest({"id", "what", "answer", absl::FromUnixSeconds(2)},
                           absl::FromUnixSeconds(1), 10);
  });
  EXPECT_THAT(plan, HasSubstr("SEARCH answered_request USING PRIMARY KEY (request_id=?)"));
}

}  // namespace
}  // namespace postern::auth
