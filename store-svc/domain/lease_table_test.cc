#include "store-svc/domain/lease_table.h"

#include <set>
#include <string>

#include "gtest/gtest.h"

namespace postern::store {
namespace {

const MailboxId kAlice = *MailboxId::Parse("0000000000000000000000000000000a");
const MailboxId kBob = *MailboxId::Parse("0000000000000000000000000000000b");

class LeaseTableTest : public testing::Test {
 protected:
  LeaseTable Make(uint64_t epoch = 5, size_t max_leases = 100) {
    return LeaseTable({.grace = absl::Seconds(10), .epoch = epoch, .max_leases = max_leases},
                      [this] { return now_; });
  }

  absl::Time now_ = absl::FromUnixSeconds(1000000);
};

TEST_F(LeaseTableTest, IsExclusiveForEachMailbox) {
  LeaseTable leases = Make();
  const LeaseTable::Hold alice = *leases.Take(kAlice, "one");
  EXPECT_TRUE(absl::IsAborted(leases.Take(kAlice, "one").status()));
  EXPECT_TRUE(absl::IsAborted(leases.Take(kAlice, "two").status()));
  EXPECT_TRUE(leases.Take(kBob, "two").ok());
  EXPECT_EQ(*leases.Find(alice.fence, "one"), kAlice);
  EXPECT_EQ(leases.size(), 2u);
}

TEST_F(LeaseTableTest, ACleanEndFreesAtOnce) {
  LeaseTable leases = Make();
  const LeaseTable::Hold first = *leases.Take(kAlice, "one");
  EXPECT_TRUE(leases.EndSession(first).has_value());
  EXPECT_TRUE(absl::IsFailedPrecondition(leases.Find(first.fence, "one").status()));
  const LeaseTable::Hold second = *leases.Take(kAlice, "two");
  EXPECT_GT(second.fence, first.fence);
  EXPECT_FALSE(leases.EndSession(first).has_value()) << "an old hold frees nothing";
  EXPECT_EQ(*leases.Find(second.fence, "two"), kAlice);
}

TEST_F(LeaseTableTest, ABrokenStreamKeepsTheLeaseForTheGrace) {
  LeaseTable leases = Make();
  const LeaseTable::Hold hold = *leases.Take(kAlice, "one");
  leases.BreakStream(hold);
  now_ += absl::Seconds(10) - absl::Nanoseconds(1);
  EXPECT_TRUE(absl::IsAborted(leases.Take(kAlice, "two").status()));
  EXPECT_EQ(*leases.Find(hold.fence, "one"), kAlice) << "its running calls go on";
  now_ += absl::Nanoseconds(1);
  EXPECT_TRUE(absl::IsFailedPrecondition(leases.Find(hold.fence, "one").status()));
  EXPECT_TRUE(absl::IsNotFound(leases.Resume(hold.fence, "one").status()));
  EXPECT_TRUE(leases.Take(kAlice, "two").ok());
}

TEST_F(LeaseTableTest, ResumeNeedsFenceAndCredential) {
  LeaseTable leases = Make();
  const LeaseTable::Hold hold = *leases.Take(kAlice, "one");
  leases.BreakStream(hold);
  EXPECT_TRUE(absl::IsNotFound(leases.Resume(hold.fence + 1, "one").status()));
  EXPECT_TRUE(absl::IsUnauthenticated(leases.Resume(hold.fence, "two").status()));
  const LeaseTable::Hold resumed = *leases.Resume(hold.fence, "one");
  EXPECT_EQ(resumed.fence, hold.fence);
  now_ += absl::Hours(1);
  EXPECT_EQ(*leases.Find(hold.fence, "one"), kAlice) << "held again, without a time limit";
}

TEST_F(LeaseTableTest, AResumedLeaseIsNotItsOldStreams) {
  LeaseTable leases = Make();
  const LeaseTable::Hold old = *leases.Take(kAlice, "one");
  const LeaseTable::Hold resumed = *leases.Resume(old.fence, "one");  // before the break was seen
  leases.BreakStream(old);
  now_ += absl::Hours(1);
  EXPECT_TRUE(leases.Find(resumed.fence, "one").ok());
  EXPECT_FALSE(leases.EndSession(old).has_value());
  EXPECT_TRUE(leases.Find(resumed.fence, "one").ok());
  EXPECT_TRUE(leases.EndSession(resumed).has_value());
}

TEST_F(LeaseTableTest, BrokenAgainItHasAWholeGraceAgain) {
  LeaseTable leases = Make();
  const LeaseTable::Hold hold = *leases.Take(kAlice, "one");
  leases.BreakStream(hold);
  now_ += absl::Seconds(9);
  const LeaseTable::Hold resumed = *leases.Resume(hold.fence, "one");
  leases.BreakStream(resumed);
  now_ += absl::Seconds(9);
  EXPECT_TRUE(leases.Find(hold.fence, "one").ok());
  now_ += absl::Seconds(1);
  EXPECT_FALSE(leases.Find(hold.fence, "one").ok());
  EXPECT_EQ(leases.size(), 0u);
}

TEST_F(LeaseTableTest, AStaleFenceCommitsNothing) {
  LeaseTable leases = Make();
  const LeaseTable::Hold first = *leases.Take(kAlice, "one");
  leases.BreakStream(first);
  now_ += absl::Seconds(10);
  const LeaseTable::Hold second = *leases.Take(kAlice, "two");
  EXPECT_TRUE(absl::IsFailedPrecondition(leases.Pin(first.fence, "one").status()));
  EXPECT_TRUE(absl::IsUnauthenticated(leases.Pin(second.fence, "one").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(leases.Pin(0, "one").status()));
}

TEST_F(LeaseTableTest, NobodyTakesAMailboxWhileADeletionRuns) {
  LeaseTable leases = Make();
  const LeaseTable::Hold hold = *leases.Take(kAlice, "one");
  ASSERT_EQ(*leases.Pin(hold.fence, "one"), kAlice);
  leases.BreakStream(hold);
  now_ += absl::Hours(1);
  EXPECT_TRUE(absl::IsAborted(leases.Take(kAlice, "two").status()));
  leases.Unpin(hold.fence);
  EXPECT_TRUE(leases.Take(kAlice, "two").ok());
}

TEST_F(LeaseTableTest, ASessionThatEndsWhileItsDeletionRuns) {
  LeaseTable leases = Make();
  const LeaseTable::Hold hold = *leases.Take(kAlice, "one");
  ASSERT_TRUE(leases.Pin(hold.fence, "one").ok());
  EXPECT_TRUE(leases.EndSession(hold).has_value());
  EXPECT_TRUE(absl::IsAborted(leases.Take(kAlice, "two").status()));
  EXPECT_FALSE(leases.Find(hold.fence, "one").ok());
  leases.Unpin(hold.fence);
  EXPECT_TRUE(leases.Take(kAlice, "two").ok());
}

TEST_F(LeaseTableTest, WhatLookedLikeAnEndCanBePutBack) {
  LeaseTable leases = Make();
  const LeaseTable::Hold hold = *leases.Take(kAlice, "one");
  std::optional<LeaseTable::Ended> ended = leases.EndSession(hold);
  leases.PutBackBroken(*ended);
  EXPECT_TRUE(absl::IsAborted(leases.Take(kAlice, "two").status()));
  EXPECT_TRUE(leases.Resume(hold.fence, "one").ok());

  const LeaseTable::Hold bob = *leases.Take(kBob, "one");
  ended = leases.EndSession(bob);
  const LeaseTable::Hold other = *leases.Take(kBob, "two");
  leases.PutBackBroken(*ended);
  EXPECT_TRUE(leases.Find(other.fence, "two").ok()) << "who came meanwhile has it";
  EXPECT_FALSE(leases.Find(bob.fence, "one").ok());
}

TEST_F(LeaseTableTest, WhatWasTakenUpMeanwhileIsNotBroken) {
  LeaseTable former = Make(5);
  const uint64_t fence = former.Take(kAlice, "one")->fence;
  LeaseTable leases = Make(6);
  std::optional<LeaseTable::Ended> ended =
      leases.EndSession(*leases.ResumeFormer(kAlice, fence, "one"));
  ASSERT_TRUE(leases.ResumeFormer(kAlice, fence, "one").ok());
  leases.PutBackBroken(*ended);
  now_ += absl::Seconds(60);
  EXPECT_TRUE(leases.Find(fence, "one").ok()) << "its stream is there";
}

TEST_F(LeaseTableTest, FencesGrowOverRestarts) {
  uint64_t last = 0;
  for (uint64_t epoch = 1; epoch < 4; ++epoch) {
    LeaseTable leases = Make(epoch);
    for (int i = 0; i < 3; ++i) {
      const LeaseTable::Hold hold = *leases.Take(kAlice, "one");
      EXPECT_GT(hold.fence, last);
      last = hold.fence;
      leases.EndSession(hold);
    }
  }
}

TEST_F(LeaseTableTest, AFormerProcesssLeaseIsTakenUpWithinTheGrace) {
  LeaseTable former = Make(5);
  const LeaseTable::Hold hold = *former.Take(kAlice, "one");
  LeaseTable leases = Make(6);
  EXPECT_TRUE(absl::IsNotFound(leases.Resume(hold.fence, "one").status()));
  now_ += absl::Seconds(9);
  const LeaseTable::Hold resumed = *leases.ResumeFormer(kAlice, hold.fence, "one");
  EXPECT_EQ(resumed.fence, hold.fence);
  EXPECT_EQ(*leases.Find(hold.fence, "one"), kAlice);
  EXPECT_TRUE(absl::IsAborted(leases.Take(kAlice, "two").status()));
}

TEST_F(LeaseTableTest, AFormerProcesssLeaseIsNotTakenUp) {
  LeaseTable former = Make(5);
  const LeaseTable::Hold older = *former.Take(kAlice, "one");
  former.EndSession(older);
  const LeaseTable::Hold newer = *former.Take(kAlice, "two");
  const LeaseTable::Hold bob = *former.Take(kBob, "one");

  LeaseTable leases = Make(6);
  // A fence of this process, or of none.
  EXPECT_TRUE(absl::IsAborted(leases.ResumeFormer(kAlice, 0, "one").status()));
  EXPECT_TRUE(
      absl::IsAborted(leases.ResumeFormer(kAlice, (uint64_t{6} << 40) + 1, "one").status()));
  // The one that superseded it before the restart comes later, and wins.
  ASSERT_TRUE(leases.ResumeFormer(kAlice, older.fence, "one").ok());
  ASSERT_TRUE(leases.ResumeFormer(kAlice, newer.fence, "two").ok());
  EXPECT_TRUE(absl::IsAborted(leases.ResumeFormer(kAlice, older.fence, "one").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(leases.Pin(older.fence, "one").status()));
  // Somebody took it since.
  ASSERT_TRUE(leases.Take(kBob, "three").ok());
  EXPECT_TRUE(absl::IsAborted(leases.ResumeFormer(kBob, bob.fence, "one").status()));

  LeaseTable late = Make(6);
  now_ += absl::Seconds(10);
  EXPECT_TRUE(absl::IsAborted(late.ResumeFormer(kAlice, newer.fence, "two").status()));
}

TEST_F(LeaseTableTest, IsBounded) {
  LeaseTable leases = Make(5, 2);
  const LeaseTable::Hold hold = *leases.Take(kAlice, "one");
  ASSERT_TRUE(leases.Take(kBob, "one").ok());
  const MailboxId third = *MailboxId::Parse("0000000000000000000000000000000c");
  EXPECT_TRUE(absl::IsResourceExhausted(leases.Take(third, "one").status()));
  leases.BreakStream(hold);
  now_ += absl::Seconds(10);
  EXPECT_TRUE(leases.Take(third, "one").ok()) << "expired leases make room";
}

}  // namespace
}  // namespace postern::store
