// The queue, filled through the spool's interface, goes to PostgreSQL and comes back.
#include "relay-svc/copy/copied_spool.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "relay-svc/domain/spool.h"
#include "relay-svc/postgresql/postgresql_spool.h"
#include "relay-svc/sqlite/sqlite_spool.h"
#include "services/async/wait.h"
#include "services/storage/copy/copy_database.h"
#include "services/storage/copy/testing/places.h"
#include "services/storage/postgresql/pool.h"
#include "services/storage/sqlite/sqlite.h"

namespace postern::relay {
namespace {

using storage::copy::Copy;
using storage::copy::NewFile;
using storage::copy::Place;
using storage::copy::TestDatabase;
using storage::postgresql::Pool;
using testing::HasSubstr;
using Kind = RecipientOutcome::Kind;

const absl::Time kStart = absl::FromUnixMicros(1800000000123456);

const storage::copy::Database& Description() {
  static const auto* const description = new storage::copy::Database(CopiedSpool());
  return *description;
}

// Opens the spool of a place for as long as `body` takes.
void With(const Place& place, const std::function<void(Spool&)>& body) {
  auto spool = OpenSqliteSpool(place.file, {.clock = [] { return kStart; }});
  ASSERT_TRUE(spool.ok()) << spool.status();
  body(**spool);
}

void With(const TestDatabase& database, const std::function<void(Spool&)>& body) {
  Pool pool(database.server(), {.max_connections = kSpoolThreads});
  body(*MakePostgresqlSpool(&pool, {.clock = [] { return kStart; }}));
}

// Octets that neither repeat nor are the same in two pieces.
std::string Large(size_t octets) {
  std::string body;
  for (uint32_t i = 1; body.size() < octets; i = i * 1664525 + 1013904223) {
    body.push_back(static_cast<char>(i >> 24));
  }
  return body;
}

NewMessage Message(const std::string& queue_id, int arrival,
                   std::vector<NewMessage::Recipient> recipients) {
  NewMessage message;
  message.message.queue_id = queue_id;
  message.message.sender = "alice@example.test";
  message.message.enqueued_at = kStart + absl::Seconds(arrival);
  message.message.trace_id = "0123456789abcdef0123456789abcdef";
  message.recipients = std::move(recipients);
  return message;
}

absl::StatusOr<Committed> Enqueue(Spool& spool, NewMessage message, const std::string& body) {
  std::unique_ptr<SpoolWriter> writer = spool.NewMessageWriter();
  for (size_t at = 0; at < body.size(); at += kMaxPieceOctets) {
    const absl::Status written = async::Wait<absl::Status>(
        [&](auto done) { writer->Write(body.substr(at, kMaxPieceOctets), std::move(done)); });
    if (!written.ok()) return written;
  }
  return async::Wait<absl::StatusOr<Committed>>(
      [&](auto done) { writer->Commit(std::move(message), std::move(done)); });
}

std::optional<Job> Claim(Spool& spool, JobKey key, absl::Time now) {
  auto job = async::Wait<absl::StatusOr<std::optional<Job>>>([&](auto done) {
    spool.Claim(std::move(key), now, now + absl::Minutes(1), 0, std::move(done));
  });
  EXPECT_TRUE(job.ok()) << job.status();
  return job.value_or(std::nullopt);
}

NewMessage Identified() {
  NewMessage message = Message("1d", 3, {{"carol@local.test", ""}});
  message.message.smtputf8 = true;
  message.message.trace_id = "";
  message.delivery_id = std::string("\0 a delivery id \xff", 16);
  message.digest = "a digest";
  return message;
}

const std::string kShared = "Subject: shared\r\n\r\nby two\r\n";

void Fill(Spool& spool) {
  // Arrived in another order than that of their ids; what is not text, too.
  NewMessage odd = Message("fe", 1,
                           {{"b\xf6r@x.test", "x.test"},
                            {"a@x.test", "x.test"},
                            {"z@y.test", "y.test"},
                            {"m@x.test", "x.test"}});
  odd.message.sender = "";
  EXPECT_TRUE(Enqueue(spool, odd, kShared).ok());
  EXPECT_TRUE(Enqueue(spool, Message("0a", 2, {{"bob@remote.test", "remote.test"}}), kShared).ok());
  EXPECT_TRUE(Enqueue(spool, Identified(), "gr\xc3\xbc\xc3\x9f").ok());
  EXPECT_TRUE(Enqueue(spool, Message("77", 4, {{"bob@remote.test", "remote.test"}}), "").ok());
  EXPECT_TRUE(
      Enqueue(spool, Message("5c", 5, {{"bob@large.test", "large.test"}}), Large(700000)).ok());
  EXPECT_TRUE(async::Wait<absl::Status>([&](auto done) {
                spool.SetHeld("0a", true, std::move(done));
              }).ok());
  // One delivered, one failed, one that waits longer, and a member that waits for itself.
  const absl::Time now = kStart + absl::Minutes(1);
  const std::optional<Job> job = Claim(spool, {"fe", "x.test"}, now);
  ASSERT_TRUE(job.has_value());
  ASSERT_EQ(job->recipients.size(), 3u);
  JobOutcome outcome{.queue_id = "fe", .claim = job->claim};
  outcome.recipients = {
      {job->recipients[0].id, Kind::kDelivered, 1, "250 2.0.0 \xff taken", {}},
      {job->recipients[1].id, Kind::kFailed, 1, "550 5.1.1 no", {}},
      {job->recipients[2].id, Kind::kWaiting, 1, "450 4.2.0 later", now + absl::Hours(1),
       /*delay_told=*/true}};
  outcome.added = {{"member@local.test", 2, now + absl::Minutes(5), "452 4.2.2 full"}};
  EXPECT_TRUE(async::Wait<absl::StatusOr<Committed>>([&](auto done) {
                spool.Record(std::move(outcome), std::move(done));
              }).ok());
  // Whose message is gone, and whose delivery id is not.
  NewMessage gone = Identified();
  gone.message.queue_id = "90";
  gone.delivery_id = std::string(16, 'g');
  EXPECT_TRUE(Enqueue(spool, gone, "gone").ok());
  EXPECT_TRUE(
      async::Wait<absl::Status>([&](auto done) { spool.Delete("90", std::move(done)); }).ok());
}

std::string ReadAll(Spool& spool, const std::string& queue_id) {
  std::string all;
  for (int64_t index = 0;; ++index) {
    const absl::StatusOr<std::string> piece = async::Wait<absl::StatusOr<std::string>>(
        [&](auto done) { spool.ReadPiece(queue_id, index, std::move(done)); });
    if (absl::IsNotFound(piece.status())) return all;
    EXPECT_TRUE(piece.ok()) << piece.status();
    if (!piece.ok()) return all;
    all += *piece;
  }
}

// All that the queue's runner and an operator can see, in the order of arrival.
std::string Dump(Spool& spool) {
  const absl::StatusOr<QueuePage> page = async::Wait<absl::StatusOr<QueuePage>>(
      [&](auto done) { spool.List(100, "", std::move(done)); });
  EXPECT_TRUE(page.ok()) << page.status();
  std::string all = absl::StrCat(spool.messages(), " messages\n");
  for (const QueueEntry& entry : page->entries) {
    const SpooledMessage& m = entry.message;
    const std::string body = ReadAll(spool, m.queue_id);
    EXPECT_EQ(body.size(), m.octets);
    absl::StrAppend(&all, m.queue_id, " ", m.sender, " ", absl::ToUnixMicros(m.enqueued_at), " ",
                    m.smtputf8, m.eight_bit, entry.held, " ", m.trace_id, " ",
                    absl::BytesToHexString(body), "\n");
    for (const QueueEntry::Recipient& r : entry.recipients) {
      absl::StrAppend(&all, "  ", absl::CHexEscape(r.address), " ", static_cast<int>(r.state), " ",
                      r.attempts, " ", absl::ToUnixMicros(r.next_attempt_at), " ",
                      absl::CHexEscape(r.last_result), "\n");
    }
  }
  const absl::StatusOr<DuePage> due = async::Wait<absl::StatusOr<DuePage>>(
      [&](auto done) { spool.FindDue(kStart + absl::Minutes(10), {}, 100, std::move(done)); });
  EXPECT_TRUE(due.ok()) << due.status();
  for (const JobKey& key : due->keys) {
    absl::StrAppend(&all, "due ", key.queue_id, " ", key.destination, "\n");
  }
  return absl::StrCat(all, "next ", absl::ToUnixMicros(due->next_due), "\n");
}

TEST(CopiedSpool, GoesToPostgresqlAndComesBack) {
  const Place file{NewFile()};
  std::string before;
  With(file, [&](Spool& spool) {
    Fill(spool);
    before = Dump(spool);
  });
  EXPECT_THAT(before, HasSubstr("5 messages\nfe "));
  EXPECT_THAT(before, HasSubstr("next "));

  const TestDatabase database(Description());
  auto copied = Copy(Description(), file, database.place());
  ASSERT_TRUE(copied.ok()) << copied.status();
  EXPECT_EQ(*copied, "message: 5 rows\nrecipient: 9 rows\ndelivery: 2 rows\nbody: 4 rows");
  With(database, [&](Spool& spool) {
    EXPECT_EQ(Dump(spool), before);
    // One id, one effect.
    const auto again = Enqueue(spool, Identified(), "gr\xc3\xbc\xc3\x9f");
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(again->repeated);
    NewMessage other = Identified();
    other.digest = "another";
    EXPECT_TRUE(absl::IsAlreadyExists(Enqueue(spool, other, "x").status()));
    // The work goes on: the next attempt, and the last one.
    const std::optional<Job> job = Claim(spool, {"fe", "x.test"}, kStart + absl::Hours(2));
    ASSERT_TRUE(job.has_value());
    ASSERT_EQ(job->recipients.size(), 1u);
    EXPECT_EQ(job->recipients[0].address, "m@x.test");
    EXPECT_EQ(job->recipients[0].attempts, 1);
    JobOutcome outcome{.queue_id = "fe", .claim = job->claim};
    outcome.recipients = {{job->recipients[0].id, Kind::kDelivered, 1, "250", {}}};
    EXPECT_TRUE(async::Wait<absl::StatusOr<Committed>>([&](auto done) {
                  spool.Record(std::move(outcome), std::move(done));
                }).ok());
    EXPECT_TRUE(async::Wait<absl::Status>([&](auto done) {
                  spool.SetHeld("0a", false, std::move(done));
                }).ok());
    EXPECT_TRUE(Enqueue(spool, Message("31", 100, {{"a@x.test", "x.test"}}), kShared).ok());
    before = Dump(spool);
  });

  const Place back{NewFile()};
  copied = Copy(Description(), database.place(), back);
  ASSERT_TRUE(copied.ok()) << copied.status();
  With(back, [&](Spool& spool) {
    EXPECT_EQ(Dump(spool), before);
    EXPECT_TRUE(Enqueue(spool, Identified(), "gr\xc3\xbc\xc3\x9f")->repeated);
    // Bodies go with the last message that has them.
    for (const char* id : {"fe", "0a", "1d", "77", "5c", "31"}) {
      EXPECT_TRUE(
          async::Wait<absl::Status>([&](auto done) { spool.Delete(id, std::move(done)); }).ok())
          << id;
    }
  });
  auto emptied = storage::Sqlite::Open(back.file, storage::Sqlite::Mode::kReadOnly);
  storage::Use use(*(*emptied)->Prepare("SELECT count(*) FROM body_piece"));
  ASSERT_TRUE(*use->Step());
  EXPECT_EQ(use->Int(0), 0);
}

// A claim of who has died is not one of who comes next: it is due when the claim runs out.
TEST(CopiedSpool, LeavesClaims) {
  const TestDatabase database(Description());
  With(database, [](Spool& spool) {
    ASSERT_TRUE(Enqueue(spool, Message("1", 0, {{"a@x.test", "x.test"}}), "x").ok());
    ASSERT_TRUE(Claim(spool, {"1", "x.test"}, kStart).has_value());
  });
  const Place file{NewFile()};
  const auto copied = Copy(Description(), database.place(), file);
  ASSERT_TRUE(copied.ok()) << copied.status();
  With(file, [](Spool& spool) {
    EXPECT_FALSE(Claim(spool, {"1", "x.test"}, kStart + absl::Seconds(59)).has_value());
    EXPECT_TRUE(Claim(spool, {"1", "x.test"}, kStart + absl::Seconds(60)).has_value());
  });
}

TEST(CopiedSpool, CarriesEveryColumn) {
  storage::copy::ExpectNothingForgotten(Description(),
                                        {"queue_size", "recipient.claim",
                                         // In the order of arrival.
                                         "message.id",
                                         // Everything is in shard 0.
                                         "message.shard", "recipient.shard", "delivery.shard"});
}

class FilledSpool : public testing::Test {
 protected:
  FilledSpool() {
    With(file_, Fill);
    EXPECT_TRUE(Copy(Description(), file_, database_.place()).ok());
  }

  const Place file_{NewFile()};
  const TestDatabase database_{Description()};
};

TEST_F(FilledSpool, IsNotCopiedToWhatIsNoPlaceForIt) {
  storage::copy::ExpectRefusals(Description(), file_, database_);
}

TEST_F(FilledSpool, IsNothingWhenItsCopyIsInterrupted) {
  storage::copy::ExpectInterruptionLeavesNothing(Description(), file_, database_);
}

}  // namespace
}  // namespace postern::relay
