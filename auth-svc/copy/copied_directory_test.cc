// The directory, filled through its interface, goes to PostgreSQL and comes back.
#include "auth-svc/copy/copied_directory.h"

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "auth-svc/domain/directory.h"
#include "auth-svc/postgresql/postgresql_directory.h"
#include "auth-svc/sqlite/sqlite_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/storage/copy/copy_database.h"
#include "services/storage/copy/testing/places.h"
#include "services/storage/postgresql/pool.h"

namespace postern::auth {
namespace {

using storage::copy::Copy;
using storage::copy::NewFile;
using storage::copy::Place;
using storage::copy::TestDatabase;
using storage::postgresql::Pool;
using testing::HasSubstr;

const storage::copy::Database& Description() {
  static const auto* const description = new storage::copy::Database(CopiedDirectory());
  return *description;
}

// Opens the directory of a place for as long as `body` takes.
void With(const Place& place, const TestDatabase* database,
          const std::function<void(Directory&)>& body) {
  if (database != nullptr) {
    Pool pool(database->server(), {});
    PostgresqlDirectory directory(&pool);
    body(directory);
    return;
  }
  auto directory = SqliteDirectory::Open(place.file, 1);
  ASSERT_TRUE(directory.ok()) << directory.status();
  body(**directory);
}

void Write(Directory& directory, const std::function<absl::Status(DirectoryWriter&)>& body) {
  EXPECT_EQ(directory.Write([&](DirectoryWriter& writer) { return body(writer); }),
            absl::OkStatus());
}

Account NewAccount(const std::string& local_part, const std::string& domain) {
  Account account;
  account.account_id = absl::StrCat("account-of-", local_part, "@", domain);
  account.mailbox_id = absl::StrCat("mailbox-of-", local_part, "@", domain);
  account.address = {local_part, domain};
  account.password_hash = absl::StrCat("$argon2id$of-", local_part);
  account.scram_sha_256 = absl::StrCat("scram-of-", local_part);
  return account;
}

void Fill(Directory& directory) {
  // Not in the order of their names; the first of each is gone when the last is there.
  for (const char* name : {"gone.test", "z.test", "a.test",
                           "b\xc3\xbc"
                           "cher.test"}) {
    Write(directory, [&](DirectoryWriter& w) { return w.InsertDomain({name, true}); });
  }
  Write(directory, [](DirectoryWriter& w) { return w.DeleteDomain("gone.test"); });
  Write(directory, [](DirectoryWriter& w) {
    return w.UpdateDomain({"z.test", false, LoginPolicy::kNoPasswords});
  });
  for (const char* local_part : {"zoe", "alice", "J\xc3\xb6rg", "bob", "gone"}) {
    Write(directory,
          [&](DirectoryWriter& w) { return w.InsertAccount(NewAccount(local_part, "a.test")); });
  }
  Write(directory, [](DirectoryWriter& w) {
    return w.InsertAccount(NewAccount("alice",
                                      "b\xc3\xbc"
                                      "cher.test"));
  });
  Write(directory, [](DirectoryWriter& w) { return w.DeleteAccount({"gone", "a.test"}); });
  for (int i = 0; i < 3; ++i) {
    Write(directory, [](DirectoryWriter& w) {
      Account bob = NewAccount("bob", "a.test");
      bob.enabled = false;
      return w.UpdateAccount(bob);
    });
  }
  Write(directory, [](DirectoryWriter& w) {
    Account theirs = NewAccount("theirs", "a.test");
    theirs.origin = {"ldap", "uuid", "stamp"};
    return w.InsertAccount(theirs);
  });
  Write(directory, [](DirectoryWriter& w) {
    return w.InsertAppPassword({NewAccount("zoe", "a.test").account_id, "phone", "hash", true,
                                false, absl::FromUnixMicros(1700000000123456),
                                absl::FromUnixMicros(1700000001123456)});
  });
  Write(directory, [](DirectoryWriter& w) {
    return w.InsertAlias(
        {{"other-name", "a.test"}, {{"theirs", "a.test"}}, {}, Origin{"ldap", "", ""}});
  });
  Write(directory, [](DirectoryWriter& w) {
    return w.InsertAlias({{"all", "a.test"},
                          {{"zoe", "a.test"},
                           {"alice", "a.test"},
                           {"alice",
                            "b\xc3\xbc"
                            "cher.test"}}});
  });
  Write(directory, [](DirectoryWriter& w) {
    return w.InsertAlias({{"everyone", "z.test"},
                          {{"all", "a.test"}, {"bob", "a.test"}},
                          {{"Zoe", "elsewhere.test"}, {"bob", "elsewhere.test"}}});
  });
  Write(directory, [](DirectoryWriter& w) { return w.InsertSrsKey("key"); });
  Write(directory, [](DirectoryWriter& w) {
    return w.InsertRequest({"request-1", "fingerprint", std::string("\0\xff answer", 9),
                            absl::FromUnixMicros(1700000000123456)},
                           absl::UnixEpoch(), 10);
  });
}

std::string Text(const Address& address) {
  return absl::StrCat(address.local_part, "@", address.domain);
}

template <typename T>
T Of(absl::StatusOr<T> value) {
  return *std::move(value);
}

// All that a caller can see.
std::string Dump(Directory& directory) {
  std::string all;
  const absl::Status status = directory.Read([&](DirectoryReader& r) {
    for (const Domain& domain : Of(r.ListDomains("", 100))) {
      absl::StrAppend(&all, "domain ", domain.name, " ", domain.enabled, " ",
                      domain.login_policy == LoginPolicy::kAny, "\n");
      const auto oldest = Of(r.FindOldestAccount(domain.name));
      absl::StrAppend(&all, "oldest ", oldest.has_value() ? Text(oldest->address) : "none", "\n");
    }
    absl::StrAppend(&all, "oldest domain ", Of(r.FindOldestDomain())->name, "\n");
    for (const Account& a : Of(r.ListAccounts("", {}, 100))) {
      absl::StrAppend(&all, "account ", Text(a.address), " ", a.account_id, " ", a.mailbox_id, " ",
                      a.password_hash, " ", a.enabled, a.domain_enabled, " ", a.version, " ",
                      a.origin.source, " ", a.origin.id, " ", a.origin.stamp, " ", a.scram_sha_256,
                      "\n");
      for (const AppPassword& p : Of(r.ListAppPasswords(a.account_id))) {
        absl::StrAppend(&all, "application password ", p.name, " ", p.hash, " ", p.pop3,
                        p.submission, " ", absl::ToUnixMicros(p.created_at), " ",
                        absl::ToUnixMicros(p.last_used_at), "\n");
      }
    }
    for (const Alias& alias : Of(r.ListAliases("", {}, 100))) {
      absl::StrAppend(&all, "alias ", Text(alias.address), " ", alias.origin.source);
      for (const Address& target : alias.targets) absl::StrAppend(&all, " ", Text(target));
      for (const Address& forward : alias.forwards) absl::StrAppend(&all, " on ", Text(forward));
      absl::StrAppend(&all, "\n");
    }
    absl::StrAppend(&all, "SRS key ", Of(r.FindSrsKey()).value_or("none"), "\n");
    const auto request = Of(r.FindRequest("request-1"));
    absl::StrAppend(&all, "request ", request->fingerprint, " ", request->answer, " ",
                    absl::ToUnixMicros(request->answered_at), "\n");
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return all;
}

TEST(CopiedDirectory, GoesToPostgresqlAndComesBack) {
  const Place file{NewFile()};
  std::string before;
  With(file, nullptr, [&](Directory& directory) {
    Fill(directory);
    before = Dump(directory);
  });
  EXPECT_THAT(before, HasSubstr("account bob@a.test"));
  EXPECT_THAT(before, HasSubstr("application password phone"));
  EXPECT_THAT(before, HasSubstr("on Zoe@elsewhere.test on bob@elsewhere.test"));
  EXPECT_THAT(before, HasSubstr("SRS key key"));

  const TestDatabase database(Description());
  auto copied = Copy(Description(), file, database.place());
  ASSERT_TRUE(copied.ok()) << copied.status();
  EXPECT_THAT(*copied, HasSubstr("domain: 3 rows\naddress: 9 rows\naccount: 6 rows\n"));
  EXPECT_THAT(*copied, HasSubstr("answered_request: 1 row"));
  With({}, &database, [&](Directory& directory) {
    EXPECT_EQ(Dump(directory), before);
    // Numbers go on behind those that came.
    Write(directory, [](DirectoryWriter& w) { return w.InsertDomain({"new.test", true}); });
    Write(directory,
          [](DirectoryWriter& w) { return w.InsertAccount(NewAccount("new", "new.test")); });
    before = Dump(directory);
  });

  const Place back{NewFile()};
  copied = Copy(Description(), database.place(), back);
  ASSERT_TRUE(copied.ok()) << copied.status();
  With(back, nullptr, [&](Directory& directory) {
    EXPECT_EQ(Dump(directory), before);
    Write(directory,
          [](DirectoryWriter& w) { return w.InsertAccount(NewAccount("last", "new.test")); });
  });
  // What a service has opened, too.
  const TestDatabase again(Description());
  copied = Copy(Description(), back, again.place());
  EXPECT_TRUE(copied.ok()) << copied.status();
}

TEST(CopiedDirectory, GoesToWhatIsEmpty) {
  const Place file{NewFile()};
  With(file, nullptr, Fill);
  const TestDatabase database(Description());
  ASSERT_TRUE(Copy(Description(), file, database.place()).ok());
  const Place opened{NewFile()};
  With(opened, nullptr, [](Directory&) {});
  // What a process that died has left: a WAL, which is not the new file's.
  const Place died{NewFile()};
  {
    const auto writer = SqliteDirectory::Open(died.file, 1);
    for (const char* suffix : {"", "-wal"}) {
      std::filesystem::copy_file(died.file + suffix, opened.file + suffix,
                                 std::filesystem::copy_options::overwrite_existing);
    }
  }
  const Place touched{NewFile()};
  std::ofstream(touched.file).close();
  for (const Place& place : {opened, touched}) {
    const auto copied = Copy(Description(), database.place(), place);
    ASSERT_TRUE(copied.ok()) << copied.status();
    EXPECT_FALSE(std::filesystem::exists(place.file + "-wal"));
    With(place, nullptr,
         [](Directory& directory) { EXPECT_THAT(Dump(directory), HasSubstr("bob")); });
  }
}

TEST(CopiedDirectory, CarriesEveryColumn) {
  storage::copy::ExpectNothingForgotten(Description(), {});
}

TEST(CopiedDirectory, RefusesWhatIsNoPlaceForIt) {
  const Place file{NewFile()};
  With(file, nullptr, Fill);
  const TestDatabase database(Description());
  ASSERT_TRUE(Copy(Description(), file, database.place()).ok());
  storage::copy::ExpectRefusals(Description(), file, database);
}

TEST(CopiedDirectory, AnInterruptionLeavesNothing) {
  const Place file{NewFile()};
  With(file, nullptr, Fill);
  const TestDatabase database(Description());
  ASSERT_TRUE(Copy(Description(), file, database.place()).ok());
  storage::copy::ExpectInterruptionLeavesNothing(Description(), file, database);
}

// What the destination makes of a row is seen.
TEST(CopiedDirectory, NamesTheFirstDifference) {
  const Place file{NewFile()};
  With(file, nullptr, Fill);
  struct Case {
    const char* table;
    const char* does;
    const char* says;
  };
  for (const Case& one : std::vector<Case>{
           {"account", "IF NEW.local_part = 'bob' THEN NEW.version := 1; END IF; RETURN NEW;",
            "table account: the row with position 4: version is not the same on both sides"},
           {"alias_target", "IF NEW.position = 2 THEN RETURN NULL; END IF; RETURN NEW;",
            "table alias_target: the row with domain a.test, local_part all, position 2 is not "
            "where it should be in PostgreSQL's database"},
           {"answered_request", "NEW.answer := ''; RETURN NEW;", "answer is not the same"},
       }) {
    const TestDatabase database(Description());
    database.Execute(
        absl::StrCat("CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ "
                     "BEGIN ",
                     one.does, " END $$; CREATE TRIGGER spoil BEFORE INSERT ON ", one.table,
                     " FOR EACH ROW EXECUTE FUNCTION spoil()"));
    const absl::Status status = Copy(Description(), file, database.place()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(one.says));
    EXPECT_TRUE(database.IsEmpty());
  }
}

}  // namespace
}  // namespace postern::auth
