// Mail, delivered through the store's interface, goes to PostgreSQL and comes back.
#include "store-svc/copy/copied_mail.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/async/wait.h"
#include "services/process/clock.h"
#include "services/storage/copy/copy_database.h"
#include "services/storage/copy/testing/places.h"
#include "services/storage/postgresql/pool.h"
#include "services/storage/sqlite/sqlite.h"
#include "store-svc/domain/mail_store.h"
#include "store-svc/postgresql/postgresql_mail_store.h"
#include "store-svc/sqlite/sqlite_mail_store.h"

namespace postern::store {
namespace {

using storage::copy::Copy;
using storage::copy::NewFile;
using storage::copy::Place;
using storage::copy::TestDatabase;
using storage::postgresql::Pool;
using testing::HasSubstr;

const storage::copy::Database& Description() {
  static const auto* const description = new storage::copy::Database(CopiedMail());
  return *description;
}

process::Clock Then() {
  return [] { return absl::FromUnixSeconds(1700000000); };
}

// Opens the mail of a place for as long as `body` takes.
void With(const Place& place, const std::function<void(MailStore&)>& body) {
  auto opened = OpenSqliteMailStore({.file = place.file}, Then());
  ASSERT_TRUE(opened.ok()) << opened.status();
  body(*opened->store);
}

void With(const TestDatabase& database, const std::function<void(MailStore&)>& body) {
  Pool pool(database.server(), {.max_connections = kMailStoreWriters + 1});
  body(*MakePostgresqlMailStore(&pool, {}, Then()));
}

// In shard 0, and in others.
MailboxId Mailbox(char last, int32_t shard = 0) {
  const std::string digits = absl::BytesToHexString(std::string(15, '\7') + last);
  return *MailboxId::Parse(shard == 0 ? digits : absl::StrCat(shard, "-", digits));
}

Delivery To(absl::string_view id, const std::vector<MailboxId>& mailboxes) {
  Delivery delivery{.delivery_id = std::string(id)};
  delivery.delivery_id.resize(16, '\0');
  for (const MailboxId& mailbox : mailboxes) {
    delivery.recipients.push_back({mailbox, absl::StrCat("P: ", mailbox.ToString(), "\r\n")});
  }
  return delivery;
}

absl::StatusOr<DeliveryResult> Deliver(MailStore& store, absl::string_view id,
                                       const std::vector<MailboxId>& mailboxes,
                                       const std::string& body) {
  return async::Wait<absl::StatusOr<DeliveryResult>>(
      [&](auto done) { store.Deliver(To(id, mailboxes), body, std::move(done)); });
}

// Octets that neither repeat nor are the same in two pieces.
std::string Large(size_t octets) {
  std::string body;
  for (uint32_t i = 1; body.size() < octets; i = i * 1664525 + 1013904223) {
    body.push_back(static_cast<char>(i >> 24));
  }
  return body;
}

absl::StatusOr<DeliveryResult> DeliverLarge(MailStore& store, absl::string_view id,
                                            const std::vector<MailboxId>& mailboxes,
                                            const std::string& body) {
  std::unique_ptr<StagedBody> staged = store.StageBody(mailboxes.front());
  for (size_t at = 0; at < body.size(); at += kMaxPieceOctets) {
    const absl::Status status = async::Wait<absl::Status>([&](auto done) {
      staged->Append(absl::string_view(body).substr(at, kMaxPieceOctets), std::move(done));
    });
    if (!status.ok()) return status;
  }
  return async::Wait<absl::StatusOr<DeliveryResult>>(
      [&](auto done) { staged->Deliver(To(id, mailboxes), std::move(done)); });
}

const std::string kBinary("Subject: x\r\n\r\n.\r\n\0\xff no newline", 30);

void Fill(MailStore& store) {
  const MailboxId a = Mailbox('a');
  const MailboxId b = Mailbox('b');
  const MailboxId c = Mailbox('\xff');
  EXPECT_TRUE(Deliver(store, "one", {a, b, c}, kBinary).ok());
  EXPECT_TRUE(Deliver(store, "two", {b}, kBinary).ok());
  EXPECT_TRUE(Deliver(store, "empty", {a}, "").ok());
  EXPECT_TRUE(Deliver(store, "text", {a}, std::string(100000, 't')).ok());
  EXPECT_TRUE(DeliverLarge(store, "large", {a, c}, Large(600000)).ok());
  EXPECT_TRUE(DeliverLarge(store, "in pieces, and small", {c}, "small").ok());
  // Uids that are never given again.
  EXPECT_TRUE(Deliver(store, "last", {a}, "last").ok());
  EXPECT_TRUE(async::Wait<absl::Status>([&](auto done) {
                store.Delete(a, kNoFence, {2, 5}, std::move(done));
              }).ok());
}

// As large, and in shards.
void FillSpread(MailStore& store) {
  for (const int32_t shard : {1, 258, 65536}) {
    const std::string id = absl::StrCat("spread", shard);
    EXPECT_TRUE(DeliverLarge(store, id + "l", {Mailbox('s', shard)}, Large(600000)).ok());
    EXPECT_TRUE(
        Deliver(store, id, {Mailbox('s', shard), Mailbox('t', shard)}, std::string(5000, 's'))
            .ok());
  }
}

std::string ReadAll(MailStore& store, const MailboxId& mailbox, uint64_t uid) {
  absl::StatusOr<StoredMessage> message = store.Read(mailbox, uid);
  if (!message.ok()) return message.status().ToString();
  std::string all = message->prefix + message->first_piece;
  for (int64_t index = 1; all.size() < message->octets; ++index) {
    absl::StatusOr<std::string> piece = store.ReadPiece(message->body, index);
    if (!piece.ok()) return piece.status().ToString();
    all += *piece;
  }
  return all;
}

// All that a reader can see, whichever order its mailboxes are listed in.
std::string Dump(MailStore& store) {
  std::vector<std::string> mailboxes;
  const absl::StatusOr<std::vector<MailboxUsage>> usages = store.ListMailboxes(std::nullopt, 1000);
  EXPECT_TRUE(usages.ok()) << usages.status();
  for (const MailboxUsage& usage : *usages) {
    const absl::StatusOr<ListingStart> start = store.StartListing(usage.mailbox, 1000);
    EXPECT_TRUE(start.ok()) << start.status();
    std::string& all = mailboxes.emplace_back();
    absl::StrAppend(&all, "mailbox ", usage.mailbox.ToString(), " ", start->uid_validity, " ",
                    start->uid_next, " ", usage.messages, " ", usage.octets, " ",
                    usage.quota_messages, " ", usage.quota_octets, "\n");
    for (const MessageEntry& entry : start->first_page) {
      const std::string octets = ReadAll(store, usage.mailbox, entry.uid);
      EXPECT_EQ(octets.size(), entry.octets);
      absl::StrAppend(&all, "message ", entry.uid, " ", absl::BytesToHexString(octets), "\n");
    }
  }
  std::sort(mailboxes.begin(), mailboxes.end());
  return absl::StrJoin(mailboxes, "");
}

int64_t Number(const Place& file, absl::string_view sql) {
  auto database = storage::Sqlite::Open(file.file, storage::Sqlite::Mode::kReadOnly);
  EXPECT_TRUE(database.ok()) << database.status();
  storage::Use use(*(*database)->Prepare(sql));
  EXPECT_TRUE(*use->Step());
  return use->Int(0);
}

int64_t Number(const TestDatabase& database, absl::string_view sql) {
  auto connection = storage::postgresql::Connection::Open(database.server());
  auto rows = (*connection)->Run(sql, {});
  EXPECT_TRUE(rows.ok()) << rows.status();
  return (*rows)->Int(0, 0);
}

void SetQuota(const Place& file) {
  auto database = storage::Sqlite::Open(file.file, storage::Sqlite::Mode::kReadWrite);
  EXPECT_TRUE(database.ok()) << database.status();
  EXPECT_TRUE((*database)
                  ->Execute("UPDATE mailbox SET quota_messages = 7, quota_octets = 77777777 "
                            "WHERE uid_next = 3")
                  .ok());
}

TEST(CopiedMail, GoesToPostgresqlAndComesBack) {
  const Place file{NewFile()};
  With(file, Fill);
  SetQuota(file);
  std::string before;
  With(file, [&](MailStore& store) { before = Dump(store); });
  EXPECT_THAT(before, HasSubstr(" 77777777\n"));

  const TestDatabase database(Description());
  auto copied = Copy(Description(), file, database.place());
  ASSERT_TRUE(copied.ok()) << copied.status();
  EXPECT_EQ(*copied,
            "mailbox: 3 rows\nmessage: 8 rows\ndelivery: 7 rows\ndeletion: 0 rows\nbody: 4 rows");
  EXPECT_EQ(Number(database, "SELECT count(*) FROM body_piece"), 3) << "of the large one";
  const MailboxId a = Mailbox('a');
  With(database, [&](MailStore& store) {
    EXPECT_EQ(Dump(store), before);
    // One id, one effect.
    const auto again = Deliver(store, "two", {Mailbox('b')}, kBinary);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(again->repeated);
    EXPECT_TRUE(absl::IsAlreadyExists(Deliver(store, "two", {Mailbox('b')}, "other").status()));
    // Uids go on, and bodies are shared still.
    ASSERT_TRUE(Deliver(store, "new", {a}, kBinary).ok());
    EXPECT_EQ(store.StartListing(a, 0)->uid_next, 7u);
    before = Dump(store);
  });
  EXPECT_EQ(Number(database, "SELECT count(*) FROM body"), 4);

  const Place back{NewFile()};
  copied = Copy(Description(), database.place(), back);
  ASSERT_TRUE(copied.ok()) << copied.status();
  With(back, [&](MailStore& store) {
    EXPECT_EQ(Dump(store), before);
    EXPECT_TRUE(Deliver(store, "new", {a}, kBinary)->repeated);
    // Bodies go with the last message that has them.
    for (const char last : {'a', 'b', '\xff'}) {
      EXPECT_TRUE(async::Wait<absl::StatusOr<uint64_t>>([&](auto done) {
                    store.Purge(Mailbox(last), std::move(done));
                  }).ok());
    }
  });
  EXPECT_EQ(Number(back, "SELECT count(*) FROM body"), 0);
  EXPECT_EQ(Number(back, "SELECT count(*) FROM body_piece"), 0);
}

TEST(CopiedMail, GoesToItsShardsAndComesBack) {
  const Place file{NewFile()};
  std::string before;
  With(file, [&](MailStore& store) {
    Fill(store);
    FillSpread(store);
    before = Dump(store);
  });
  EXPECT_EQ(Number(file, "SELECT count(*) FROM body"), 5) << "one large one, wherever it is";

  const TestDatabase database(Description());
  auto copied = Copy(Description(), file, database.place());
  ASSERT_TRUE(copied.ok()) << copied.status();
  EXPECT_EQ(Number(database, "SELECT count(*) FROM body WHERE piece_key IS NOT NULL"), 4);
  With(database, [&](MailStore& store) {
    EXPECT_EQ(Number(database, "SELECT count(*) FROM mailbox WHERE shard = 258"), 2);
    EXPECT_EQ(Dump(store), before);
    EXPECT_TRUE(
        Deliver(store, "spread258", {Mailbox('s', 258), Mailbox('t', 258)}, std::string(5000, 's'))
            ->repeated);
  });

  const Place back{NewFile()};
  copied = Copy(Description(), database.place(), back);
  ASSERT_TRUE(copied.ok()) << copied.status();
  With(back, [&](MailStore& store) { EXPECT_EQ(Dump(store), before); });
  EXPECT_EQ(Number(back, "SELECT count(*) FROM body"), 5);
}

TEST(CopiedMail, TakesDeletionsAlong) {
  const Place file{NewFile()};
  With(file, Fill);
  {
    auto database = storage::Sqlite::Open(file.file, storage::Sqlite::Mode::kReadWrite);
    ASSERT_TRUE(
        (*database)
            ->Execute("INSERT INTO deletion SELECT mailbox_id, uid FROM message WHERE uid = 1")
            .ok());
  }
  const TestDatabase database(Description());
  ASSERT_TRUE(Copy(Description(), file, database.place()).ok());
  EXPECT_EQ(Number(database, "SELECT count(*) FROM deletion"), 3);
  const Place back{NewFile()};
  ASSERT_TRUE(Copy(Description(), database.place(), back).ok());
  EXPECT_EQ(Number(back, "SELECT count(*) FROM deletion"), 3);
}

// Bodies on their way in stay behind.
TEST(CopiedMail, LeavesWhatIsUnfinished) {
  const Place file{NewFile()};
  With(file, Fill);
  {
    auto database = storage::Sqlite::Open(file.file, storage::Sqlite::Mode::kReadWrite);
    ASSERT_TRUE(
        (*database)
            ->Execute("INSERT INTO body (body_id, pieces, reference_count) VALUES (1000, 1, 0); "
                      "INSERT INTO body_piece VALUES (65536000, 1, x'41')")
            .ok());
  }
  const TestDatabase database(Description());
  const auto copied = Copy(Description(), file, database.place());
  ASSERT_TRUE(copied.ok()) << copied.status();
  EXPECT_EQ(Number(database, "SELECT count(*) FROM body"), 4);
}

TEST(CopiedMail, CarriesEveryColumn) {
  storage::copy::ExpectNothingForgotten(Description(),
                                        {"lease_epoch", "holder", "lease", "delivery.sequence",
                                         // What the mailbox's id says.
                                         "mailbox.shard", "message.shard", "deletion.shard"});
}

class FilledMail : public testing::Test {
 protected:
  FilledMail() {
    With(file_, Fill);
    EXPECT_TRUE(Copy(Description(), file_, database_.place()).ok());
  }

  const Place file_{NewFile()};
  const TestDatabase database_{Description()};
};

TEST_F(FilledMail, IsNotCopiedToWhatIsNoPlaceForIt) {
  storage::copy::ExpectRefusals(Description(), file_, database_);
}

TEST_F(FilledMail, IsNothingWhenItsCopyIsInterrupted) {
  storage::copy::ExpectInterruptionLeavesNothing(Description(), file_, database_);
}

// What is broken in the source, or by the destination, is named, and nothing is copied.
TEST_F(FilledMail, NamesTheFirstDifference) {
  struct Case {
    const char* spoils;
    const char* says;
  };
  for (const Case& one : std::vector<Case>{
           {"UPDATE body_piece SET octets = CAST(replace(octets, 'S', 'T') AS BLOB) "
            "WHERE original_octets = 30",
            "its content is another (in /"},
           {"UPDATE body_piece SET original_octets = 99999 WHERE original_octets = 100000",
            "a body's piece does not decompress"},
           {"UPDATE body SET reference_count = 9 WHERE reference_count = 4",
            " has 9 messages in /"},
           {"DELETE FROM body_piece WHERE original_octets = 30", "its content is another"},
           {"DELETE FROM body WHERE reference_count = 4", "table message: "},
           {"DELETE FROM message WHERE uid = 1", "has 4 messages in /"},
       }) {
    const Place spoiled{NewFile()};
    With(spoiled, Fill);
    {
      auto file = storage::Sqlite::Open(spoiled.file, storage::Sqlite::Mode::kReadWrite);
      ASSERT_TRUE((*file)->Execute(one.spoils).ok()) << one.spoils;
    }
    const TestDatabase to(Description());
    const absl::Status status = Copy(Description(), spoiled, to.place()).status();
    EXPECT_FALSE(status.ok()) << one.spoils;
    EXPECT_THAT(std::string(status.message()), HasSubstr(one.says)) << one.spoils;
    EXPECT_TRUE(to.IsEmpty()) << one.spoils;
  }
  for (const Case& one : std::vector<Case>{
           {"UPDATE body SET octets = overlay(octets PLACING '\\x00' FROM 1) "
            "WHERE original_octets = 30",
            "its content is another (in PostgreSQL's"},
           {"DELETE FROM body_piece WHERE position = 1", "its content is another (in PostgreSQL's"},
           {"DELETE FROM body WHERE piece_key IS NOT NULL", "table message: "},
       }) {
    const TestDatabase spoiled(Description());
    ASSERT_TRUE(Copy(Description(), file_, spoiled.place()).ok());
    spoiled.Execute(one.spoils);
    const Place to{NewFile()};
    const absl::Status status = Copy(Description(), spoiled.place(), to).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr(one.says)) << one.spoils;
    EXPECT_NE(access(to.file.c_str(), F_OK), 0) << one.spoils;
  }
}

}  // namespace
}  // namespace postern::store
