#include "auth-svc/domain/app_password.h"

#include <set>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace postern::auth {
namespace {

TEST(AppPasswordTest, IsRandomAndCanBeTyped) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string password = NewAppPassword();
    EXPECT_THAT(password, testing::MatchesRegex("([a-z2-7]{4}-){5}[a-z2-7]{4}"));
    EXPECT_TRUE(seen.insert(password).second);
    EXPECT_TRUE(AppPasswordHash("id", password).has_value());
  }
}

TEST(AppPasswordTest, HoweverItIsWrittenItIsTheSame) {
  const std::string password = "abcd-efgh-ijkl-mnop-qrst-uvw2";
  const auto hash = AppPasswordHash("id", password);
  ASSERT_TRUE(hash.has_value());
  EXPECT_EQ(hash->size(), 64u);
  EXPECT_EQ(AppPasswordHash("id", absl::StrReplaceAll(password, {{"-", ""}})), hash);
  EXPECT_EQ(AppPasswordHash("id", absl::StrReplaceAll(password, {{"-", " "}})), hash);
  EXPECT_EQ(AppPasswordHash("id", absl::AsciiStrToUpper(password)), hash);
  EXPECT_NE(AppPasswordHash("another", password), hash);
  EXPECT_NE(AppPasswordHash("id", "abcd-efgh-ijkl-mnop-qrst-uvw3"), hash);
}

TEST(AppPasswordTest, WhatCouldNotBeOneIsNoneEver) {
  for (const char* password :
       {"", "secret", "abcd-efgh-ijkl-mnop-qrst-uvw", "------", "abcd-efgh-ijkl-mnop-qrst-uvwxy",
        "abcd-efgh-ijkl-mnop-qrst-uvw1", "abcd-efgh-ijkl-mnop-qrst-uvw\xc3\xa4"}) {
    EXPECT_EQ(AppPasswordHash("id", password), std::nullopt) << password;
  }
}

}  // namespace
}  // namespace postern::auth
