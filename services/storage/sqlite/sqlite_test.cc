#include "services/storage/sqlite/sqlite.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace postern::storage {
namespace {

std::string FreshFile() {
  std::string folder = absl::StrCat(testing::TempDir(), "/sqlite.XXXXXX");
  EXPECT_NE(mkdtemp(folder.data()), nullptr);
  return folder + "/db";
}

std::unique_ptr<Sqlite> OpenFresh() {
  absl::StatusOr<std::unique_ptr<Sqlite>> database =
      Sqlite::Open(FreshFile(), Sqlite::Mode::kReadWrite);
  EXPECT_TRUE(database.ok()) << database.status();
  return *std::move(database);
}

int64_t Number(Sqlite& database, absl::string_view sql) {
  Use use(*database.Prepare(sql));
  EXPECT_TRUE(*use->Step());
  return use->Int(0);
}

TEST(Sqlite, IsDurableAndPrivate) {
  std::unique_ptr<Sqlite> database = OpenFresh();
  Use mode(*database->Prepare("PRAGMA journal_mode"));
  ASSERT_TRUE(*mode->Step());
  EXPECT_EQ(mode->Text(0), "wal");
  EXPECT_EQ(Number(*database, "PRAGMA synchronous"), 2);  // FULL
  EXPECT_EQ(Number(*database, "PRAGMA foreign_keys"), 1);
  ASSERT_TRUE(database->Execute("CREATE TABLE t (a)").ok());
  for (const char* suffix : {"", "-wal", "-shm"}) {
    struct stat status;
    ASSERT_EQ(stat((database->file() + suffix).c_str(), &status), 0) << suffix;
    EXPECT_EQ(status.st_mode & 0777, 0600u) << suffix;
  }
}

TEST(Sqlite, BindsAndReadsEveryKind) {
  std::unique_ptr<Sqlite> database = OpenFresh();
  ASSERT_TRUE(database->Execute("CREATE TABLE t (i, t, b, n, e, z)").ok());
  const std::string blob("\0\xff\0", 3);
  Statement* insert = *database->Prepare("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)");
  ASSERT_TRUE(insert->Bind(1, INT64_MIN)
                  .BindText(2, "t\xc3\xa4xt")
                  .BindBlob(3, blob)
                  .BindNull(4)
                  .BindText(5, absl::string_view())
                  .BindBlob(6, absl::string_view())
                  .Run()
                  .ok());
  EXPECT_EQ(database->Changes(), 1);
  EXPECT_EQ(database->LastInsertRowid(), 1);
  Use row(*database->Prepare("SELECT * FROM t"));
  ASSERT_TRUE(*row->Step());
  EXPECT_EQ(row->Int(0), INT64_MIN);
  EXPECT_EQ(row->Text(1), "t\xc3\xa4xt");
  EXPECT_EQ(row->Blob(2), blob);
  EXPECT_TRUE(row->IsNull(3));
  EXPECT_FALSE(row->IsNull(4)) << "an empty text is not NULL";
  EXPECT_FALSE(row->IsNull(5)) << "an empty blob is not NULL";
  EXPECT_FALSE(*row->Step());
}

TEST(Sqlite, StatementsAreKeptAndCleared) {
  std::unique_ptr<Sqlite> database = OpenFresh();
  constexpr absl::string_view kSql = "SELECT ?1 IS NULL";
  Statement* first = *database->Prepare(kSql);
  first->Bind(1, 7);
  ASSERT_TRUE(*first->Step());
  EXPECT_EQ(first->Int(0), 0);
  Statement* second = *database->Prepare(kSql);
  EXPECT_EQ(first, second);
  ASSERT_TRUE(*second->Step());
  EXPECT_EQ(second->Int(0), 1) << "the old binding is gone";
}

TEST(Sqlite, ErrorsHaveTheirCodes) {
  std::unique_ptr<Sqlite> database = OpenFresh();
  ASSERT_TRUE(
      database->Execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b UNIQUE, c NOT NULL)").ok());
  ASSERT_TRUE(database->Execute("INSERT INTO t VALUES (1, 1, 1)").ok());
  const struct {
    const char* sql;
    absl::StatusCode code;
  } kCases[] = {
      {"INSERT INTO t VALUES (1, 2, 1)", absl::StatusCode::kAlreadyExists},
      {"INSERT INTO t VALUES (2, 1, 1)", absl::StatusCode::kAlreadyExists},
      {"INSERT INTO t VALUES (2, 2, NULL)", absl::StatusCode::kInternal},
  };
  for (const auto& test : kCases) {
    EXPECT_EQ((*database->Prepare(test.sql))->Run().code(), test.code) << test.sql;
    EXPECT_EQ(database->Execute(test.sql).code(), test.code) << test.sql;
  }
  EXPECT_EQ(database->Prepare("SELECT nonsense").status().code(), absl::StatusCode::kInternal);
  Statement* one = *database->Prepare("SELECT ?1");
  EXPECT_EQ(one->Bind(2, 1).Step().status().code(), absl::StatusCode::kInternal)
      << "a failed bind is not lost";
}

TEST(Sqlite, FullDatabaseIsResourceExhausted) {
  std::unique_ptr<Sqlite> database = OpenFresh();
  ASSERT_TRUE(database->Execute("CREATE TABLE t (a); PRAGMA max_page_count=10").ok());
  EXPECT_EQ(database->Execute("INSERT INTO t VALUES (zeroblob(100000))").code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(database->Execute("INSERT INTO t VALUES (1)").ok());
}

TEST(Sqlite, ReadOnlyReadsWhatIsCommittedAndWritesNothing) {
  std::unique_ptr<Sqlite> writer = OpenFresh();
  ASSERT_TRUE(writer->Execute("CREATE TABLE t (a); INSERT INTO t VALUES (5)").ok());
  std::unique_ptr<Sqlite> reader = *Sqlite::Open(writer->file(), Sqlite::Mode::kReadOnly);
  EXPECT_EQ(Number(*reader, "SELECT a FROM t"), 5);
  EXPECT_FALSE(reader->Execute("INSERT INTO t VALUES (6)").ok());
  EXPECT_EQ(Number(*writer, "SELECT count(*) FROM t"), 1);
}

TEST(Sqlite, UseLetsTheWalBeReused) {
  std::unique_ptr<Sqlite> writer = OpenFresh();
  writer->StopAutomaticCheckpoints();
  ASSERT_TRUE(writer->Execute("CREATE TABLE t (a); INSERT INTO t VALUES (5)").ok());
  std::unique_ptr<Sqlite> reader = *Sqlite::Open(writer->file(), Sqlite::Mode::kReadOnly);
  EXPECT_EQ(Number(*reader, "SELECT a FROM t"), 5);
  const int pages = writer->WalPages();
  EXPECT_GT(pages, 0);
  absl::StatusOr<Sqlite::CheckpointResult> result = writer->Checkpoint();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->checkpointed_pages, result->wal_pages);
  ASSERT_TRUE(writer->Execute("INSERT INTO t VALUES (6)").ok());
  EXPECT_LT(writer->WalPages(), pages);
}

// Whether a process that opens the file now finds it in use: SQLite's SHARED lock
// (https://sqlite.org/src/file?name=src/os.h). Asked in a child, since a process has no locks
// against itself.
bool OthersSeeItInUse(const std::string& file) {
  const pid_t child = fork();
  if (child == 0) {
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = 0x40000000 + 2;
    lock.l_len = 510;
    const int descriptor = open(file.c_str(), O_RDWR | O_CLOEXEC);
    _exit(fcntl(descriptor, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? 1 : 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

// A descriptor of the file that this process closes takes all of its locks away (POSIX), and the
// next process that reads the database would take itself for the last: it ends the WAL under our
// feet, and what we commit then is gone.
TEST(Sqlite, AnotherConnectionLeavesTheLocksInPlace) {
  const std::string file = FreshFile();
  const auto first = *Sqlite::Open(file, Sqlite::Mode::kReadWrite);
  ASSERT_EQ(first->Execute("CREATE TABLE t (x)"), absl::OkStatus());
  EXPECT_TRUE(OthersSeeItInUse(file));
  const auto second = *Sqlite::Open(file, Sqlite::Mode::kReadWrite);
  EXPECT_TRUE(OthersSeeItInUse(file));
  ASSERT_EQ(second->Execute("INSERT INTO t VALUES (1)"), absl::OkStatus());
  EXPECT_TRUE(OthersSeeItInUse(file));
}

TEST(Sqlite, OpenReportsAnImpossibleFile) {
  EXPECT_FALSE(Sqlite::Open("/nonexistent/folder/db", Sqlite::Mode::kReadWrite).ok());
  EXPECT_FALSE(Sqlite::Open(FreshFile(), Sqlite::Mode::kReadOnly).ok());
}

constexpr Migration kTwo[] = {{1, "CREATE TABLE a (x); CREATE TABLE b (x)"},
                              {2, "INSERT INTO a VALUES (1)"}};

TEST(Migrate, AppliesEachOnce) {
  std::unique_ptr<Sqlite> database = OpenFresh();
  ASSERT_TRUE(Migrate(*database, absl::MakeSpan(kTwo, 1)).ok());
  EXPECT_EQ(Number(*database, "SELECT count(*) FROM a"), 0);
  ASSERT_TRUE(Migrate(*database, kTwo).ok());
  ASSERT_TRUE(Migrate(*database, kTwo).ok());
  EXPECT_EQ(Number(*database, "SELECT count(*) FROM a"), 1);
  EXPECT_EQ(Number(*database, "PRAGMA user_version"), 2);
}

TEST(Migrate, RefusesANewerFile) {
  std::unique_ptr<Sqlite> database = OpenFresh();
  ASSERT_TRUE(Migrate(*database, kTwo).ok());
  EXPECT_EQ(Migrate(*database, absl::MakeSpan(kTwo, 1)).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(database->InTransaction());
}

TEST(Migrate, AFailedOneLeavesNothingBehind) {
  std::unique_ptr<Sqlite> database = OpenFresh();
  const Migration broken[] = {{1, "CREATE TABLE a (x)"}, {2, "CREATE TABLE b (x); nonsense"}};
  EXPECT_FALSE(Migrate(*database, broken).ok());
  EXPECT_FALSE(database->InTransaction());
  EXPECT_EQ(Number(*database, "PRAGMA user_version"), 1);
  EXPECT_EQ(Number(*database, "SELECT count(*) FROM sqlite_schema WHERE name = 'b'"), 0);
}

}  // namespace
}  // namespace postern::storage
