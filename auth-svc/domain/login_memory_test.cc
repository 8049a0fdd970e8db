#include "auth-svc/domain/login_memory.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace postern::auth {
namespace {

class LoginMemoryTest : public testing::Test {
 protected:
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  const process::Clock clock_ = [this] { return now_; };
  LoginMemory memory_{clock_, absl::Minutes(5), /*max_accounts=*/3};
};

TEST_F(LoginMemoryTest, KnowsWhatItRemembersAndNothingElse) {
  EXPECT_FALSE(memory_.Knows("alice", 1, "secret"));
  memory_.Remember("alice", 1, "secret");
  EXPECT_TRUE(memory_.Knows("alice", 1, "secret"));
  EXPECT_FALSE(memory_.Knows("alice", 1, "Secret"));
  EXPECT_FALSE(memory_.Knows("alice", 1, ""));
  EXPECT_FALSE(memory_.Knows("bob", 1, "secret"));
  // The row changed: a new password, or disabled and enabled again.
  EXPECT_FALSE(memory_.Knows("alice", 2, "secret"));
  EXPECT_FALSE(memory_.Knows("alic", 1, "esecret"));
}

TEST_F(LoginMemoryTest, EndsAfterItsLifetimeHoweverOftenItIsUsed) {
  memory_.Remember("alice", 1, "secret");
  for (int i = 0; i < 4; ++i) {
    now_ += absl::Minutes(1);
    EXPECT_TRUE(memory_.Knows("alice", 1, "secret"));
  }
  now_ += absl::Minutes(1);
  EXPECT_FALSE(memory_.Knows("alice", 1, "secret"));
  EXPECT_EQ(memory_.size(), 0u);
}

TEST_F(LoginMemoryTest, HoldsOneLoginForAnAccount) {
  memory_.Remember("alice", 1, "secret");
  memory_.Remember("alice", 2, "other");
  EXPECT_FALSE(memory_.Knows("alice", 1, "secret"));
  EXPECT_TRUE(memory_.Knows("alice", 2, "other"));
  EXPECT_EQ(memory_.size(), 1u);
}

TEST_F(LoginMemoryTest, DropsTheOldestWhenItIsFull) {
  for (int i = 0; i < 1000; ++i) memory_.Remember(absl::StrCat("user", i), 1, "secret");
  EXPECT_EQ(memory_.size(), 3u);
  EXPECT_FALSE(memory_.Knows("user996", 1, "secret"));
  EXPECT_TRUE(memory_.Knows("user997", 1, "secret"));
  EXPECT_TRUE(memory_.Knows("user999", 1, "secret"));
}

TEST_F(LoginMemoryTest, RemembersNothingWithoutALifetime) {
  LoginMemory none(clock_, absl::ZeroDuration(), 3);
  none.Remember("alice", 1, "secret");
  EXPECT_FALSE(none.Knows("alice", 1, "secret"));
  EXPECT_EQ(none.size(), 0u);
}

}  // namespace
}  // namespace postern::auth
