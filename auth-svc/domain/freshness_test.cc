#include "auth-svc/domain/freshness.h"

#include "gtest/gtest.h"

namespace postern::auth {
namespace {

class FreshnessTest : public testing::Test {
 protected:
  void Learn(const Address& address, const std::string& id) {
    Freshness::Question question(freshness_);
    question.Answered(address, id);
  }
  void Pass(absl::Duration time) { now_ += time; }

  absl::Time now_ = absl::FromUnixSeconds(1700000000);
  Freshness freshness_{[this] { return now_; }, absl::Seconds(60), /*max_addresses=*/3};
  const Address alice_{"alice", "a.test"};
  const Address other_{"alice.other", "a.test"};
  const Address bob_{"bob", "a.test"};
  const Address nobody_{"nobody", "a.test"};
};

TEST_F(FreshnessTest, AnAnswerIsTrueForItsTime) {
  EXPECT_FALSE(freshness_.IsFresh(alice_));
  Learn(alice_, "1");
  Learn(nobody_, "");
  Pass(absl::Seconds(59));
  EXPECT_TRUE(freshness_.IsFresh(alice_));
  EXPECT_TRUE(freshness_.IsFresh(nobody_));
  Pass(absl::Seconds(1));
  EXPECT_FALSE(freshness_.IsFresh(alice_));
  EXPECT_FALSE(freshness_.IsFresh(nobody_));
}

TEST_F(FreshnessTest, WatchedItIsTrueUntilTold) {
  // What was learnt before is not covered.
  Learn(bob_, "2");
  Pass(absl::Seconds(1));
  freshness_.SetWatched(true);
  Learn(alice_, "1");
  Learn(other_, "1");
  Pass(absl::Minutes(30));
  EXPECT_TRUE(freshness_.IsFresh(alice_));
  EXPECT_FALSE(freshness_.IsFresh(bob_));
  freshness_.Changed("2");
  EXPECT_TRUE(freshness_.IsFresh(alice_));
  freshness_.Changed("1");
  EXPECT_FALSE(freshness_.IsFresh(alice_));
  EXPECT_FALSE(freshness_.IsFresh(other_));
}

TEST_F(FreshnessTest, WatchedNothingIsTrueUntilAnythingChanges) {
  freshness_.SetWatched(true);
  Learn(nobody_, "");
  Learn(alice_, "1");
  EXPECT_TRUE(freshness_.IsFresh(nobody_));
  freshness_.Changed("3");
  EXPECT_FALSE(freshness_.IsFresh(nobody_));
  EXPECT_TRUE(freshness_.IsFresh(alice_));
}

TEST_F(FreshnessTest, NoLongerWatchedItsOwnTimeCounts) {
  freshness_.SetWatched(true);
  Learn(alice_, "1");
  Pass(absl::Seconds(61));
  EXPECT_TRUE(freshness_.IsFresh(alice_));
  freshness_.SetWatched(false);
  EXPECT_FALSE(freshness_.IsFresh(alice_));
  // What was missed in between is not known.
  freshness_.SetWatched(true);
  EXPECT_FALSE(freshness_.IsFresh(alice_));
}

TEST_F(FreshnessTest, AnAnswerThatAChangeOvertookIsNotTaken) {
  Freshness::Question question(freshness_);
  freshness_.Changed("1");
  question.Answered(alice_, "1");
  question.Answered(nobody_, "");
  question.Answered(bob_, "2");
  EXPECT_FALSE(freshness_.IsFresh(alice_));
  EXPECT_FALSE(freshness_.IsFresh(nobody_));
  EXPECT_TRUE(freshness_.IsFresh(bob_));
  freshness_.ChangedAll();
  EXPECT_FALSE(freshness_.IsFresh(bob_));
  question.Answered(bob_, "2");
  EXPECT_FALSE(freshness_.IsFresh(bob_));
}

TEST_F(FreshnessTest, TheOldestAnswerMakesRoom) {
  Learn(alice_, "1");
  Learn(bob_, "2");
  Learn(nobody_, "");
  Learn(other_, "1");
  EXPECT_EQ(freshness_.size(), 3U);
  EXPECT_FALSE(freshness_.IsFresh(alice_));
  EXPECT_TRUE(freshness_.IsFresh(other_));
  freshness_.Changed("1");
  EXPECT_EQ(freshness_.size(), 2U);
}

}  // namespace
}  // namespace postern::auth
