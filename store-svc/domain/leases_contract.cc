#include "store-svc/domain/leases_contract.h"

#include <utility>

#include "absl/synchronization/notification.h"
#include "services/async/wait.h"

namespace postern::store {
namespace {

using Hold = Leases::Hold;

const MailboxId kAlice = *MailboxId::Parse("0000000000000000000000000000000a");
const MailboxId kBob = *MailboxId::Parse("0000000000000000000000000000000b");

}  // namespace

absl::StatusOr<Hold> AwaitedLeases::Take(const MailboxId& mailbox, absl::string_view credential) {
  return async::Wait<absl::StatusOr<Hold>>(
      [&](auto done) { leases_.Take(mailbox, credential, std::move(done)); });
}

absl::StatusOr<Hold> AwaitedLeases::Resume(const MailboxId& mailbox, uint64_t fence,
                                           absl::string_view credential) {
  return async::Wait<absl::StatusOr<Hold>>([&](auto done) {
    leases_.Resume(
        fence, credential, [&] { return mailbox; }, std::move(done));
  });
}

absl::StatusOr<Hold> AwaitedLeases::ResumeFormer(const MailboxId& mailbox, uint64_t fence,
                                                 absl::string_view credential) {
  return async::Wait<absl::StatusOr<Hold>>(
      [&](auto done) { leases_.ResumeFormer(mailbox, fence, credential, std::move(done)); });
}

absl::StatusOr<MailboxId> AwaitedLeases::Find(const MailboxId& mailbox, uint64_t fence,
                                              absl::string_view credential) {
  return async::Wait<absl::StatusOr<MailboxId>>([&](auto done) {
    leases_.Find(
        fence, credential, [&] { return mailbox; }, std::move(done));
  });
}

absl::StatusOr<MailboxId> AwaitedLeases::Pin(const MailboxId& mailbox, uint64_t fence,
                                             absl::string_view credential) {
  return async::Wait<absl::StatusOr<MailboxId>>([&](auto done) {
    leases_.Pin(
        fence, credential, [&] { return mailbox; }, std::move(done));
  });
}

std::optional<Leases::Ended> AwaitedLeases::EndSession(const Hold& hold) {
  return async::Wait<std::optional<Leases::Ended>>(
      [&](auto done) { leases_.EndSession(hold, std::move(done)); });
}

void AwaitedLeases::BreakStream(const Hold& hold) {
  absl::Notification done;
  leases_.BreakStream(hold, [&] { done.Notify(); });
  done.WaitForNotification();
}

void AwaitedLeases::PutBackBroken(Leases::Ended ended) {
  absl::Notification done;
  leases_.PutBackBroken(std::move(ended), [&] { done.Notify(); });
  done.WaitForNotification();
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(LeasesContract);

TEST_P(LeasesContract, AreExclusiveForEachMailbox) {
  const Hold alice = *leases_.Take(kAlice, "one");
  EXPECT_TRUE(absl::IsAborted(leases_.Take(kAlice, "one").status()));
  EXPECT_TRUE(absl::IsAborted(leases_.Take(kAlice, "two").status()));
  const Hold bob = *leases_.Take(kBob, "two");
  EXPECT_NE(alice.fence, bob.fence);
  EXPECT_EQ(*leases_.Find(kAlice, alice.fence, "one"), kAlice);
  EXPECT_EQ(*leases_.Find(kBob, bob.fence, "two"), kBob);
}

TEST_P(LeasesContract, ACleanEndFreesAtOnce) {
  const Hold first = *leases_.Take(kAlice, "one");
  EXPECT_TRUE(leases_.EndSession(first).has_value());
  EXPECT_TRUE(absl::IsFailedPrecondition(leases_.Find(kAlice, first.fence, "one").status()));
  EXPECT_TRUE(absl::IsNotFound(leases_.Resume(kAlice, first.fence, "one").status()));
  const Hold second = *leases_.Take(kAlice, "two");
  EXPECT_NE(second.fence, first.fence);
  EXPECT_FALSE(leases_.EndSession(first).has_value()) << "an old hold frees nothing";
  EXPECT_EQ(*leases_.Find(kAlice, second.fence, "two"), kAlice);
}

TEST_P(LeasesContract, ABrokenStreamKeepsTheLeaseForTheGrace) {
  const Hold hold = *leases_.Take(kAlice, "one");
  leases_.BreakStream(hold);
  harness_->Pass(LeasesHarness::kGrace - absl::Seconds(2));
  EXPECT_TRUE(absl::IsAborted(leases_.Take(kAlice, "two").status()));
  EXPECT_EQ(*leases_.Find(kAlice, hold.fence, "one"), kAlice) << "its running calls go on";
  harness_->Pass(absl::Seconds(2));
  EXPECT_TRUE(absl::IsFailedPrecondition(leases_.Find(kAlice, hold.fence, "one").status()));
  EXPECT_TRUE(absl::IsNotFound(leases_.Resume(kAlice, hold.fence, "one").status()));
  EXPECT_TRUE(leases_.Take(kAlice, "two").ok());
}

TEST_P(LeasesContract, ResumeNeedsFenceAndCredential) {
  const Hold hold = *leases_.Take(kAlice, "one");
  leases_.BreakStream(hold);
  EXPECT_TRUE(absl::IsNotFound(leases_.Resume(kAlice, hold.fence + 1, "one").status()));
  EXPECT_TRUE(absl::IsUnauthenticated(leases_.Resume(kAlice, hold.fence, "two").status()));
  EXPECT_TRUE(absl::IsUnauthenticated(leases_.Find(kAlice, hold.fence, "two").status()));
  const Hold resumed = *leases_.Resume(kAlice, hold.fence, "one");
  EXPECT_EQ(resumed.fence, hold.fence);
  harness_->Pass(absl::Hours(1));
  EXPECT_EQ(*leases_.Find(kAlice, hold.fence, "one"), kAlice) << "held again, without a time limit";
}

TEST_P(LeasesContract, AResumedLeaseIsNotItsOldStreams) {
  const Hold old = *leases_.Take(kAlice, "one");
  // Before the break was seen.
  const Hold resumed = *leases_.Resume(kAlice, old.fence, "one");
  leases_.BreakStream(old);
  harness_->Pass(absl::Hours(1));
  EXPECT_TRUE(leases_.Find(kAlice, resumed.fence, "one").ok());
  EXPECT_FALSE(leases_.EndSession(old).has_value());
  EXPECT_TRUE(leases_.Find(kAlice, resumed.fence, "one").ok());
  EXPECT_TRUE(leases_.EndSession(resumed).has_value());
}

TEST_P(LeasesContract, BrokenAgainItHasAWholeGraceAgain) {
  const Hold hold = *leases_.Take(kAlice, "one");
  leases_.BreakStream(hold);
  harness_->Pass(LeasesHarness::kGrace - absl::Seconds(2));
  const Hold resumed = *leases_.Resume(kAlice, hold.fence, "one");
  leases_.BreakStream(resumed);
  harness_->Pass(LeasesHarness::kGrace - absl::Seconds(2));
  EXPECT_TRUE(leases_.Find(kAlice, hold.fence, "one").ok());
  harness_->Pass(absl::Seconds(2));
  EXPECT_FALSE(leases_.Find(kAlice, hold.fence, "one").ok());
}

TEST_P(LeasesContract, AStaleFenceIsNotPinned) {
  const Hold first = *leases_.Take(kAlice, "one");
  leases_.BreakStream(first);
  harness_->Pass(LeasesHarness::kGrace);
  const Hold second = *leases_.Take(kAlice, "two");
  EXPECT_TRUE(absl::IsFailedPrecondition(leases_.Pin(kAlice, first.fence, "one").status()));
  EXPECT_TRUE(absl::IsUnauthenticated(leases_.Pin(kAlice, second.fence, "one").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(leases_.Pin(kAlice, 0, "one").status()));
  ASSERT_EQ(*leases_.Pin(kAlice, second.fence, "two"), kAlice);
  harness_->leases().Unpin(second.fence);
}

TEST_P(LeasesContract, WhatLookedLikeAnEndCanBePutBack) {
  const Hold hold = *leases_.Take(kAlice, "one");
  std::optional<Leases::Ended> ended = leases_.EndSession(hold);
  leases_.PutBackBroken(*ended);
  EXPECT_TRUE(leases_.Resume(kAlice, hold.fence, "one").ok());
  EXPECT_TRUE(absl::IsAborted(leases_.Take(kAlice, "two").status()));

  const Hold bob = *leases_.Take(kBob, "one");
  ended = leases_.EndSession(bob);
  const Hold other = *leases_.Take(kBob, "two");
  leases_.PutBackBroken(*ended);
  EXPECT_TRUE(leases_.Find(kBob, other.fence, "two").ok()) << "who came meanwhile has it";
  EXPECT_FALSE(leases_.Find(kBob, bob.fence, "one").ok());
}

}  // namespace postern::store
