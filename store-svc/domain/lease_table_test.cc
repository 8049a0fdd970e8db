#include "store-svc/domain/lease_table.h"

#include <memory>
#include <optional>
#include <utility>

#include "gtest/gtest.h"
#include "store-svc/domain/leases_contract.h"

namespace postern::store {
namespace {

const MailboxId kAlice = *MailboxId::Parse("0000000000000000000000000000000a");
const MailboxId kBob = *MailboxId::Parse("0000000000000000000000000000000b");

class LeaseTableTest : public testing::Test {
 protected:
  // With answers awaited, as they come at once.
  struct Table : LeaseTable, AwaitedLeases {
    Table(const Options& options, process::Clock clock)
        : LeaseTable(options, std::move(clock)), AwaitedLeases(static_cast<LeaseTable*>(this)) {}
    using AwaitedLeases::BreakStream;
    using AwaitedLeases::EndSession;
    using AwaitedLeases::Find;
    using AwaitedLeases::Pin;
    using AwaitedLeases::PutBackBroken;
    using AwaitedLeases::Resume;
    using AwaitedLeases::ResumeFormer;
    using AwaitedLeases::Take;
  };
  Table Make(uint64_t epoch = 5, size_t max_leases = 100) {
    return Table({.grace = absl::Seconds(10), .epoch = epoch, .max_leases = max_leases},
                 [this] { return now_; });
  }

  absl::Time now_ = absl::FromUnixSeconds(1000000);
};

TEST_F(LeaseTableTest, NobodyTakesAMailboxWhileADeletionRuns) {
  Table leases = Make();
  const Leases::Hold hold = *leases.Take(kAlice, "one");
  ASSERT_EQ(*leases.Pin(kAlice, hold.fence, "one"), kAlice);
  leases.BreakStream(hold);
  now_ += absl::Hours(1);
  EXPECT_TRUE(absl::IsAborted(leases.Take(kAlice, "two").status()));
  leases.Unpin(hold.fence);
  EXPECT_TRUE(leases.Take(kAlice, "two").ok());
}

TEST_F(LeaseTableTest, ASessionThatEndsWhileItsDeletionRuns) {
  Table leases = Make();
  const Leases::Hold hold = *leases.Take(kAlice, "one");
  ASSERT_TRUE(leases.Pin(kAlice, hold.fence, "one").ok());
  EXPECT_TRUE(leases.EndSession(hold).has_value());
  EXPECT_TRUE(absl::IsAborted(leases.Take(kAlice, "two").status()));
  EXPECT_FALSE(leases.Find(kAlice, hold.fence, "one").ok());
  leases.Unpin(hold.fence);
  EXPECT_TRUE(leases.Take(kAlice, "two").ok());
}

TEST_F(LeaseTableTest, WhatWasTakenUpMeanwhileIsNotBroken) {
  Table former = Make(5);
  const uint64_t fence = former.Take(kAlice, "one")->fence;
  Table leases = Make(6);
  std::optional<Leases::Ended> ended =
      leases.EndSession(*leases.ResumeFormer(kAlice, fence, "one"));
  ASSERT_TRUE(leases.ResumeFormer(kAlice, fence, "one").ok());
  leases.PutBackBroken(*ended);
  now_ += absl::Seconds(60);
  EXPECT_TRUE(leases.Find(kAlice, fence, "one").ok()) << "its stream is there";
}

TEST_F(LeaseTableTest, FencesGrowOverRestarts) {
  uint64_t last = 0;
  for (uint64_t epoch = 1; epoch < 4; ++epoch) {
    Table leases = Make(epoch);
    for (int i = 0; i < 3; ++i) {
      const Leases::Hold hold = *leases.Take(kAlice, "one");
      EXPECT_GT(hold.fence, last);
      last = hold.fence;
      leases.EndSession(hold);
    }
  }
}

TEST_F(LeaseTableTest, AFormerProcesssLeaseIsTakenUpWithinTheGrace) {
  Table former = Make(5);
  const Leases::Hold hold = *former.Take(kAlice, "one");
  Table leases = Make(6);
  EXPECT_TRUE(absl::IsNotFound(leases.Resume(kAlice, hold.fence, "one").status()));
  now_ += absl::Seconds(9);
  const Leases::Hold resumed = *leases.ResumeFormer(kAlice, hold.fence, "one");
  EXPECT_EQ(resumed.fence, hold.fence);
  EXPECT_EQ(*leases.Find(kAlice, hold.fence, "one"), kAlice);
  EXPECT_TRUE(absl::IsAborted(leases.Take(kAlice, "two").status()));
}

TEST_F(LeaseTableTest, AFormerProcesssLeaseIsNotTakenUp) {
  Table former = Make(5);
  const Leases::Hold older = *former.Take(kAlice, "one");
  former.EndSession(older);
  const Leases::Hold newer = *former.Take(kAlice, "two");
  const Leases::Hold bob = *former.Take(kBob, "one");

  Table leases = Make(6);
  // A fence of this process, or of none.
  EXPECT_TRUE(absl::IsAborted(leases.ResumeFormer(kAlice, 0, "one").status()));
  EXPECT_TRUE(
      absl::IsAborted(leases.ResumeFormer(kAlice, (uint64_t{6} << 40) + 1, "one").status()));
  // The one that superseded it before the restart comes later, and wins.
  ASSERT_TRUE(leases.ResumeFormer(kAlice, older.fence, "one").ok());
  ASSERT_TRUE(leases.ResumeFormer(kAlice, newer.fence, "two").ok());
  EXPECT_TRUE(absl::IsAborted(leases.ResumeFormer(kAlice, older.fence, "one").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(leases.Pin(kAlice, older.fence, "one").status()));
  // Somebody took it since.
  ASSERT_TRUE(leases.Take(kBob, "three").ok());
  EXPECT_TRUE(absl::IsAborted(leases.ResumeFormer(kBob, bob.fence, "one").status()));

  Table late = Make(6);
  now_ += absl::Seconds(10);
  EXPECT_TRUE(absl::IsAborted(late.ResumeFormer(kAlice, newer.fence, "two").status()));
}

TEST_F(LeaseTableTest, IsBounded) {
  Table leases = Make(5, 2);
  const Leases::Hold hold = *leases.Take(kAlice, "one");
  ASSERT_TRUE(leases.Take(kBob, "one").ok());
  const MailboxId third = *MailboxId::Parse("0000000000000000000000000000000c");
  EXPECT_TRUE(absl::IsResourceExhausted(leases.Take(third, "one").status()));
  leases.BreakStream(hold);
  now_ += absl::Seconds(10);
  EXPECT_TRUE(leases.Take(third, "one").ok()) << "expired leases make room";
}

class LeaseTableHarness final : public LeasesHarness {
 public:
  Leases& leases() override { return table_; }
  void Pass(absl::Duration time) override { now_ += time; }

 private:
  absl::Time now_ = absl::FromUnixSeconds(1000000);
  LeaseTable table_{{.grace = kGrace}, [this] { return now_; }};
};

INSTANTIATE_TEST_SUITE_P(InMemory, LeasesContract,
                         testing::Values(+[]() -> std::unique_ptr<LeasesHarness> {
                           return std::make_unique<LeaseTableHarness>();
                         }));

}  // namespace
}  // namespace postern::store
