#include "relay-svc/domain/spool_contract.h"

#include <unistd.h>

#include <atomic>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/async/wait.h"

namespace postern::relay {
namespace {

using Kind = RecipientOutcome::Kind;

const absl::Time kStart = absl::FromUnixSeconds(1800000000);

NewMessage Message(const std::string& queue_id, std::vector<NewMessage::Recipient> recipients = {
                                                    {"bob@remote.test", "remote.test"}}) {
  NewMessage message;
  message.message.queue_id = queue_id;
  message.message.sender = "alice@example.test";
  message.message.enqueued_at = kStart;
  message.message.trace_id = "0123456789abcdef0123456789abcdef";
  message.recipients = std::move(recipients);
  return message;
}

DuePage Due(Spool& spool, absl::Time now, DueCursor after = {}, int limit = 100) {
  absl::StatusOr<DuePage> page = async::Wait<absl::StatusOr<DuePage>>(
      [&](auto done) { spool.FindDue(now, after, limit, std::move(done)); });
  EXPECT_TRUE(page.ok()) << page.status();
  return page.value_or(DuePage{});
}

constexpr absl::Duration kClaim = absl::Minutes(1);

std::optional<Job> Claim(Spool& spool, JobKey key, absl::Time now = kStart) {
  absl::StatusOr<std::optional<Job>> job =
      async::Wait<absl::StatusOr<std::optional<Job>>>([&](auto done) {
        spool.Claim(std::move(key), now, now + kClaim, /*max_running=*/0, std::move(done));
      });
  EXPECT_TRUE(job.ok()) << job.status();
  return job.value_or(std::nullopt);
}

absl::StatusOr<std::string> Piece(Spool& spool, const std::string& queue_id, int64_t index) {
  return async::Wait<absl::StatusOr<std::string>>(
      [&](auto done) { spool.ReadPiece(queue_id, index, std::move(done)); });
}

Committed Record(Spool& spool, JobOutcome outcome) {
  absl::StatusOr<Committed> committed = async::Wait<absl::StatusOr<Committed>>(
      [&](auto done) { spool.Record(std::move(outcome), std::move(done)); });
  EXPECT_TRUE(committed.ok()) << committed.status();
  return committed.value_or(Committed{});
}

absl::StatusOr<QueueEntry> Get(Spool& spool, const std::string& queue_id) {
  return async::Wait<absl::StatusOr<QueueEntry>>(
      [&](auto done) { spool.Get(queue_id, std::move(done)); });
}

}  // namespace

void SpoolContract::SetUp() {
  static std::atomic<int> number = 0;
  name_ = absl::StrCat("spool-", getpid(), "-", ++number);
  Reopen();
}

void SpoolContract::Reopen(int64_t max_messages) {
  spool_.reset();
  spool_ = GetParam()(name_, max_messages);
  ASSERT_NE(spool_, nullptr);
}

absl::StatusOr<Committed> SpoolContract::Enqueue(NewMessage message, const std::string& body) {
  std::unique_ptr<SpoolWriter> writer = spool_->NewMessageWriter();
  for (size_t at = 0; at < body.size(); at += kMaxPieceOctets) {
    const absl::Status written = async::Wait<absl::Status>(
        [&](auto done) { writer->Write(body.substr(at, kMaxPieceOctets), std::move(done)); });
    if (!written.ok()) return written;
  }
  return async::Wait<absl::StatusOr<Committed>>(
      [&](auto done) { writer->Commit(std::move(message), std::move(done)); });
}

TEST_P(SpoolContract, WhatIsCommittedIsDueAndSurvivesARestart) {
  const absl::StatusOr<Committed> committed = Enqueue(
      Message("1", {{"a@x.test", "x.test"}, {"b@y.test", "y.test"}, {"c@x.test", "x.test"}}),
      "Subject: x\r\n\r\nbody\r\n");
  ASSERT_TRUE(committed.ok()) << committed.status();
  EXPECT_EQ(committed->queue_id, "1");
  EXPECT_FALSE(committed->repeated);
  EXPECT_EQ(committed->due, (std::vector<JobKey>{{"1", "x.test"}, {"1", "y.test"}}));
  EXPECT_EQ(spool_->messages(), 1);

  Reopen();
  EXPECT_EQ(spool_->messages(), 1);
  const DuePage page = Due(*spool_, kStart);
  EXPECT_TRUE(page.end);
  EXPECT_EQ(page.keys, (std::vector<JobKey>{{"1", "x.test"}, {"1", "y.test"}, {"1", "x.test"}}));
  const std::optional<Job> job = Claim(*spool_, {"1", "x.test"});
  ASSERT_TRUE(job.has_value());
  EXPECT_EQ(job->message.sender, "alice@example.test");
  EXPECT_EQ(job->message.octets, 20u);
  EXPECT_EQ(job->message.enqueued_at, kStart);
  EXPECT_FALSE(job->message.eight_bit);
  ASSERT_EQ(job->recipients.size(), 2u);
  EXPECT_EQ(job->recipients[0].address, "a@x.test");
  EXPECT_EQ(job->recipients[1].address, "c@x.test");
  EXPECT_EQ(Piece(*spool_, "1", 0).value_or(""), "Subject: x\r\n\r\nbody\r\n");
  EXPECT_TRUE(absl::IsNotFound(Piece(*spool_, "1", 1).status()));
}

TEST_P(SpoolContract, TheTraceStaysWithTheMessage) {
  ASSERT_TRUE(Enqueue(Message("1"), "body\r\n").ok());
  const std::optional<Job> job = Claim(*spool_, {"1", "remote.test"});
  ASSERT_TRUE(job.has_value());
  EXPECT_EQ(job->message.trace_id, "0123456789abcdef0123456789abcdef");
  EXPECT_EQ(Get(*spool_, "1")->message.trace_id, job->message.trace_id);
}

TEST_P(SpoolContract, LargeBodiesComeBackInPieces) {
  std::string body;
  while (body.size() < 3 * kMaxPieceOctets) absl::StrAppend(&body, "line ", body.size(), "\r\n");
  body += "\xc3\xbc\r\n";
  ASSERT_TRUE(Enqueue(Message("1"), body).ok());
  std::string read;
  for (int64_t index = 0;; ++index) {
    const absl::StatusOr<std::string> piece = Piece(*spool_, "1", index);
    if (!piece.ok()) {
      EXPECT_TRUE(absl::IsNotFound(piece.status()));
      break;
    }
    read += *piece;
  }
  EXPECT_EQ(read, body);
  const std::optional<Job> job = Claim(*spool_, {"1", "remote.test"});
  ASSERT_TRUE(job.has_value());
  EXPECT_EQ(job->message.octets, body.size());
  EXPECT_TRUE(job->message.eight_bit);
}

TEST_P(SpoolContract, AWriterThatGoesAwayLeavesNothing) {
  {
    std::unique_ptr<SpoolWriter> writer = spool_->NewMessageWriter();
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(async::Wait<absl::Status>([&](auto done) {
                    writer->Write(std::string(kMaxPieceOctets, 'x'), std::move(done));
                  }).ok());
    }
  }
  EXPECT_EQ(spool_->messages(), 0);
  EXPECT_TRUE(Due(*spool_, kStart).keys.empty());
}

TEST_P(SpoolContract, OneIdOneEffect) {
  NewMessage first = Message("1");
  first.delivery_id = "0123456789abcdef";
  first.digest = "digest";
  for (const size_t size : {size_t{100}, 2 * kMaxPieceOctets}) {
    Reopen();
    first.message.queue_id = absl::StrCat("q", size);
    first.delivery_id = absl::StrCat(first.delivery_id, size);
    NewMessage again = first;
    again.message.queue_id = "another";
    NewMessage other = again;
    other.digest = "other digest";
    const int64_t before = spool_->messages();
    ASSERT_TRUE(Enqueue(first, std::string(size, 'x')).ok());
    const absl::StatusOr<Committed> repeated = Enqueue(again, std::string(size, 'x'));
    ASSERT_TRUE(repeated.ok()) << repeated.status();
    EXPECT_TRUE(repeated->repeated);
    EXPECT_EQ(repeated->queue_id, first.message.queue_id);
    EXPECT_TRUE(repeated->due.empty());
    EXPECT_TRUE(absl::IsAlreadyExists(Enqueue(other, std::string(size, 'x')).status()));
    EXPECT_EQ(spool_->messages(), before + 1);
  }
}

TEST_P(SpoolContract, AnIdIsKeptWhenItsMessageIsGone) {
  NewMessage message = Message("1");
  message.delivery_id = "0123456789abcdef";
  message.digest = "digest";
  ASSERT_TRUE(Enqueue(message, "x").ok());
  ASSERT_TRUE(
      async::Wait<absl::Status>([&](auto done) { spool_->Delete("1", std::move(done)); }).ok());
  Reopen();
  message.message.queue_id = "2";
  EXPECT_TRUE(Enqueue(message, "x")->repeated);
  ASSERT_TRUE(async::Wait<absl::Status>([&](auto done) {
                spool_->ForgetDeliveryIds(absl::Now() + absl::Hours(1), std::move(done));
              }).ok());
  EXPECT_FALSE(Enqueue(message, "x")->repeated);
}

TEST_P(SpoolContract, AFullQueueRefusesButRepeats) {
  Reopen(1);
  NewMessage message = Message("1");
  message.delivery_id = "0123456789abcdef";
  ASSERT_TRUE(Enqueue(message, "x").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Enqueue(Message("2"), "x").status()));
  message.message.queue_id = "3";
  EXPECT_TRUE(Enqueue(message, "x")->repeated);
  EXPECT_EQ(spool_->messages(), 1);
}

TEST_P(SpoolContract, OutcomesAreWrittenDown) {
  ASSERT_TRUE(Enqueue(Message("1", {{"a@x.test", "x.test"}, {"b@x.test", "x.test"}}), "x").ok());
  std::optional<Job> job = Claim(*spool_, {"1", "x.test"});
  ASSERT_TRUE(job.has_value());
  const absl::Time later = kStart + absl::Seconds(60);
  Record(*spool_, {"1",
                   job->claim,
                   {{job->recipients[0].id, Kind::kDelivered, 1, "250 ok", {}},
                    {job->recipients[1].id, Kind::kWaiting, 1, "450 later", later,
                     /*delay_told=*/true}},
                   {}});

  Reopen();
  EXPECT_FALSE(Claim(*spool_, {"1", "x.test"}).has_value());
  const DuePage page = Due(*spool_, kStart);
  EXPECT_TRUE(page.keys.empty());
  EXPECT_EQ(page.next_due, later);
  const absl::StatusOr<QueueEntry> entry = Get(*spool_, "1");
  ASSERT_TRUE(entry.ok()) << entry.status();
  EXPECT_EQ(entry->recipients[0].state, QueueEntry::State::kDelivered);
  EXPECT_EQ(entry->recipients[1].state, QueueEntry::State::kWaiting);
  EXPECT_EQ(entry->recipients[1].attempts, 1);
  EXPECT_EQ(entry->recipients[1].last_result, "450 later");

  job = Claim(*spool_, {"1", "x.test"}, later);
  ASSERT_TRUE(job.has_value());
  ASSERT_EQ(job->recipients.size(), 1u);
  EXPECT_EQ(job->recipients[0].attempts, 1);
  EXPECT_TRUE(job->recipients[0].delay_told);
  Record(*spool_,
         {"1", job->claim, {{job->recipients[0].id, Kind::kDelivered, 1, "250 ok", {}}}, {}});
  EXPECT_EQ(spool_->messages(), 0);
  EXPECT_TRUE(absl::IsNotFound(Get(*spool_, "1").status()));
  EXPECT_TRUE(absl::IsNotFound(Piece(*spool_, "1", 0).status()));
}

TEST_P(SpoolContract, AJobIsWhoeverClaimedIt) {
  ASSERT_TRUE(Enqueue(Message("1"), "x").ok());
  const JobKey key{"1", "remote.test"};
  const std::optional<Job> first = Claim(*spool_, key);
  ASSERT_TRUE(first.has_value());
  EXPECT_FALSE(Claim(*spool_, key).has_value());
  EXPECT_FALSE(Claim(*spool_, key, kStart + kClaim - absl::Seconds(1)).has_value());
  ASSERT_TRUE(async::Wait<absl::Status>([&](auto done) {
                spool_->Renew({{"1", first->claim}}, kStart + 2 * kClaim, std::move(done));
              }).ok());
  EXPECT_FALSE(Claim(*spool_, key, kStart + kClaim).has_value()) << "renewed";
  ASSERT_TRUE(async::Wait<absl::Status>([&](auto done) {
                spool_->MakeDue("", kStart, std::move(done));
              }).ok());
  EXPECT_FALSE(Claim(*spool_, key, kStart + kClaim).has_value()) << "whatever an operator says";

  // It ran out, and the first comes back late.
  const absl::Time later = kStart + 2 * kClaim;
  const std::optional<Job> second = Claim(*spool_, key, later);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->recipients[0].attempts, 0);
  const auto record = [&](const Job& job, Kind kind) {
    return async::Wait<absl::StatusOr<Committed>>([&](auto done) {
             spool_->Record({"1", job.claim, {{job.recipients[0].id, kind, 1, "said so", later}}},
                            std::move(done));
           })
        .status();
  };
  ASSERT_TRUE(async::Wait<absl::Status>([&](auto done) {
                spool_->Renew({{"1", first->claim}}, later + absl::Hours(1), std::move(done));
              }).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(record(*first, Kind::kFailed)));
  EXPECT_EQ(Get(*spool_, "1")->recipients[0].last_result, "");
  EXPECT_TRUE(record(*second, Kind::kWaiting).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(record(*second, Kind::kFailed))) << "once";
  EXPECT_TRUE(Claim(*spool_, key, later).has_value());
}

TEST_P(SpoolContract, ARecipientThatAnAttemptMadeWaitsForItself) {
  ASSERT_TRUE(Enqueue(Message("1", {{"all@example.test", ""}}), "body\r\n").ok());
  const std::optional<Job> job = Claim(*spool_, {"1", ""});
  ASSERT_TRUE(job.has_value());
  const absl::Time later = kStart + absl::Minutes(1);
  JobOutcome outcome{.queue_id = "1", .claim = job->claim};
  outcome.recipients = {{job->recipients[0].id, Kind::kDelivered, 1, "1 of 2", {}}};
  outcome.added = {{"bob@example.test", 1, later, "the mailbox is full", /*delay_told=*/true}};
  Record(*spool_, outcome);
  EXPECT_FALSE(Claim(*spool_, {"1", ""}).has_value());
  const std::optional<Job> next = Claim(*spool_, {"1", ""}, later);
  ASSERT_TRUE(next.has_value());
  ASSERT_EQ(next->recipients.size(), 1u);
  EXPECT_EQ(next->recipients[0].address, "bob@example.test");
  EXPECT_EQ(next->recipients[0].attempts, 1);
  EXPECT_TRUE(next->recipients[0].delay_told);
  outcome.claim = next->claim;
  outcome.recipients = {{next->recipients[0].id, Kind::kDelivered, 1, "", {}}};
  outcome.added.clear();
  Record(*spool_, outcome);
  EXPECT_EQ(spool_->messages(), 0);
}

TEST_P(SpoolContract, TheNoticeComesWithTheFailure) {
  Reopen(1);
  ASSERT_TRUE(Enqueue(Message("1"), "x").ok());
  const std::optional<Job> job = Claim(*spool_, {"1", "remote.test"});
  ASSERT_TRUE(job.has_value());
  JobOutcome outcome{
      "1", job->claim, {{job->recipients[0].id, Kind::kFailed, 1, "550 no", {}}}, {}};
  outcome.notice = JobOutcome::Notice{Message("2", {{"alice@example.test", ""}}), "your mail\r\n"};
  outcome.notice->message.message.sender = "";
  // Even though the queue is full.
  const Committed committed = Record(*spool_, outcome);
  EXPECT_EQ(committed.due, (std::vector<JobKey>{{"2", ""}}));
  EXPECT_EQ(spool_->messages(), 1);
  EXPECT_TRUE(absl::IsNotFound(Get(*spool_, "1").status()));
  const std::optional<Job> notice = Claim(*spool_, {"2", ""});
  ASSERT_TRUE(notice.has_value());
  EXPECT_EQ(notice->message.sender, "");
  EXPECT_EQ(notice->message.octets, 11u);
  EXPECT_EQ(Piece(*spool_, "2", 0).value_or(""), "your mail\r\n");
}

// A message with the same body, be the first one gone or still there.
TEST_P(SpoolContract, WhatIsForwardedComesWithTheOutcome) {
  const std::string large(kMaxPieceOctets + 1, 'x');
  for (const std::string& body : {std::string("small \xc3\xa9\r\n"), large}) {
    Reopen(2);
    ASSERT_TRUE(
        Enqueue(Message("1", {{"a@example.test", ""}, {"bob@remote.test", "remote.test"}}), body)
            .ok());
    std::optional<Job> job = Claim(*spool_, {"1", ""});
    ASSERT_TRUE(job.has_value());
    JobOutcome outcome{"1", job->claim, {{job->recipients[0].id, Kind::kDelivered, 1, "on", {}}}};
    for (const char* queue_id : {"2", "3"}) {
      NewMessage message =
          Message(queue_id, {{"c@far.test", "far.test"}, {"d@far.test", "far.test"}});
      message.message.sender = "srs@example.test";
      message.message.octets = job->message.octets;
      message.message.eight_bit = job->message.eight_bit;
      outcome.forwarded.push_back(std::move(message));
    }
    EXPECT_EQ(Record(*spool_, std::move(outcome)).due,
              (std::vector<JobKey>{{"2", "far.test"}, {"3", "far.test"}}));
    EXPECT_EQ(spool_->messages(), 3);
    job = Claim(*spool_, {"1", "remote.test"});
    ASSERT_TRUE(job.has_value());
    Record(*spool_, {"1", job->claim, {{job->recipients[0].id, Kind::kDelivered, 1, "", {}}}});
    EXPECT_TRUE(absl::IsNotFound(Get(*spool_, "1").status()));
    job = Claim(*spool_, {"2", "far.test"});
    ASSERT_TRUE(job.has_value());
    EXPECT_EQ(job->message.sender, "srs@example.test");
    EXPECT_EQ(job->message.octets, body.size());
    EXPECT_EQ(job->recipients.size(), 2u);
    ASSERT_TRUE(
        async::Wait<absl::Status>([&](auto done) { spool_->Delete("2", std::move(done)); }).ok());
    EXPECT_EQ(Piece(*spool_, "3", 0).value_or(""), body.substr(0, kMaxPieceOctets));
    // One that is forwarded as a whole hands its body on.
    job = Claim(*spool_, {"3", "far.test"});
    ASSERT_TRUE(job.has_value());
    JobOutcome last{"3",
                    job->claim,
                    {{job->recipients[0].id, Kind::kDelivered, 1, "", {}},
                     {job->recipients[1].id, Kind::kDelivered, 1, "", {}}}};
    last.forwarded.push_back(Message("4"));
    Record(*spool_, std::move(last));
    EXPECT_EQ(Piece(*spool_, "4", 0).value_or(""), body.substr(0, kMaxPieceOctets));
    ASSERT_TRUE(
        async::Wait<absl::Status>([&](auto done) { spool_->Delete("4", std::move(done)); }).ok());
    EXPECT_EQ(spool_->messages(), 0);
  }
}

TEST_P(SpoolContract, ADeletedMessageGetsNoNotice) {
  ASSERT_TRUE(Enqueue(Message("1"), "x").ok());
  const std::optional<Job> job = Claim(*spool_, {"1", "remote.test"});
  ASSERT_TRUE(job.has_value());
  ASSERT_TRUE(
      async::Wait<absl::Status>([&](auto done) { spool_->Delete("1", std::move(done)); }).ok());
  JobOutcome outcome{
      "1", job->claim, {{job->recipients[0].id, Kind::kFailed, 1, "550 no", {}}}, {}};
  outcome.notice = JobOutcome::Notice{Message("2"), "your mail\r\n"};
  EXPECT_TRUE(Record(*spool_, outcome).due.empty());
  EXPECT_EQ(spool_->messages(), 0);
}

TEST_P(SpoolContract, HeldMessagesAreNotDue) {
  ASSERT_TRUE(Enqueue(Message("1"), "x").ok());
  ASSERT_TRUE(Enqueue(Message("2"), "x").ok());
  ASSERT_TRUE(async::Wait<absl::Status>([&](auto done) {
                spool_->SetHeld("1", true, std::move(done));
              }).ok());
  EXPECT_EQ(Due(*spool_, kStart).keys, (std::vector<JobKey>{{"2", "remote.test"}}));
  EXPECT_FALSE(Claim(*spool_, {"1", "remote.test"}).has_value());
  EXPECT_TRUE(Get(*spool_, "1")->held);
  ASSERT_TRUE(async::Wait<absl::Status>([&](auto done) {
                spool_->SetHeld("1", false, std::move(done));
              }).ok());
  EXPECT_EQ(Due(*spool_, kStart).keys.size(), 2u);
  EXPECT_TRUE(absl::IsNotFound(
      async::Wait<absl::Status>([&](auto done) { spool_->SetHeld("3", true, std::move(done)); })));
}

TEST_P(SpoolContract, MakeDue) {
  const absl::Time later = kStart + absl::Hours(1);
  for (const char* queue_id : {"1", "2"}) {
    ASSERT_TRUE(Enqueue(Message(queue_id), "x").ok());
    const std::optional<Job> job = Claim(*spool_, {queue_id, "remote.test"});
    ASSERT_TRUE(job.has_value());
    Record(*spool_,
           {queue_id, job->claim, {{job->recipients[0].id, Kind::kWaiting, 1, "450", later}}, {}});
  }
  EXPECT_TRUE(Due(*spool_, kStart).keys.empty());
  ASSERT_TRUE(async::Wait<absl::Status>([&](auto done) {
                spool_->MakeDue("2", kStart, std::move(done));
              }).ok());
  EXPECT_EQ(Due(*spool_, kStart).keys, (std::vector<JobKey>{{"2", "remote.test"}}));
  ASSERT_TRUE(async::Wait<absl::Status>([&](auto done) {
                spool_->MakeDue("", kStart, std::move(done));
              }).ok());
  EXPECT_EQ(Due(*spool_, kStart).keys.size(), 2u);
  EXPECT_TRUE(absl::IsNotFound(async::Wait<absl::Status>(
      [&](auto done) { spool_->MakeDue("3", kStart, std::move(done)); })));
}

TEST_P(SpoolContract, DueInPages) {
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Enqueue(Message(absl::StrCat(i)), "x").ok());
  std::vector<JobKey> all;
  DueCursor cursor;
  for (int pages = 1;; ++pages) {
    const DuePage page = Due(*spool_, kStart, cursor, 2);
    EXPECT_LE(page.keys.size(), 2u);
    all.insert(all.end(), page.keys.begin(), page.keys.end());
    cursor = page.cursor;
    if (page.end) {
      EXPECT_EQ(pages, 3);
      break;
    }
    ASSERT_LT(pages, 4);
  }
  ASSERT_EQ(all.size(), 5u);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(all[i].queue_id, absl::StrCat(i));
}

TEST_P(SpoolContract, ListsInPages) {
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Enqueue(Message(absl::StrCat(i)), "x").ok());
  std::vector<std::string> ids;
  std::string token;
  do {
    const absl::StatusOr<QueuePage> page = async::Wait<absl::StatusOr<QueuePage>>(
        [&](auto done) { spool_->List(2, token, std::move(done)); });
    ASSERT_TRUE(page.ok()) << page.status();
    EXPECT_LE(page->entries.size(), 2u);
    for (const QueueEntry& entry : page->entries) ids.push_back(entry.message.queue_id);
    token = page->next_page_token;
  } while (!token.empty());
  EXPECT_EQ(ids, (std::vector<std::string>{"0", "1", "2", "3", "4"}));
  EXPECT_TRUE(absl::IsInvalidArgument(async::Wait<absl::StatusOr<QueuePage>>([&](auto done) {
                                        spool_->List(2, "x'--", std::move(done));
                                      }).status()));
}

TEST_P(SpoolContract, ALongListStaysBelowAnRpcMessage) {
  std::vector<NewMessage::Recipient> many;
  for (int i = 0; i < 1000; ++i) {
    many.push_back({absl::StrCat(std::string(200, 'r'), i, "@remote.test"), "remote.test"});
  }
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Enqueue(Message(absl::StrCat(i), many), "x").ok());
  size_t entries = 0;
  std::string token;
  do {
    const absl::StatusOr<QueuePage> page = async::Wait<absl::StatusOr<QueuePage>>(
        [&](auto done) { spool_->List(1000, token, std::move(done)); });
    ASSERT_TRUE(page.ok()) << page.status();
    ASSERT_GE(page->entries.size(), 1u);
    EXPECT_LE(page->entries.size(), 2u);
    entries += page->entries.size();
    token = page->next_page_token;
  } while (!token.empty());
  EXPECT_EQ(entries, 5u);
}

TEST_P(SpoolContract, Answers) {
  EXPECT_TRUE(async::Wait<absl::Status>([&](auto done) { spool_->Ping(std::move(done)); }).ok());
}

}  // namespace postern::relay
