#include "store-svc/domain/envelope.h"

#include <string>

#include "gtest/gtest.h"

namespace postern::store {
namespace {

TEST(EnvelopePrefix, HasTheThreeLines) {
  EXPECT_EQ(*EnvelopePrefix("s@x.test", "alice@example.test", "alice+list@example.test"),
            "Return-Path: <s@x.test>\r\nDelivered-To: alice@example.test\r\n"
            "X-Original-To: alice+list@example.test\r\n");
}

TEST(EnvelopePrefix, TheNullSenderIsAnEmptyPath) {
  EXPECT_EQ(*EnvelopePrefix("", "a@b", "a@b"),
            "Return-Path: <>\r\nDelivered-To: a@b\r\nX-Original-To: a@b\r\n");
}

TEST(EnvelopePrefix, NothingGetsALineOfItsOwn) {
  const std::string good = "a@b";
  for (const std::string& bad : {std::string("a@b\r\nX: y"), std::string("a@b\n"),
                                 std::string("a@b\r"), std::string("a\0b", 3), std::string("a@b\t"),
                                 std::string("a@b\x7f"), std::string(513, 'a')}) {
    EXPECT_TRUE(absl::IsInvalidArgument(EnvelopePrefix(bad, good, good).status())) << bad;
    EXPECT_TRUE(absl::IsInvalidArgument(EnvelopePrefix(good, bad, good).status())) << bad;
    EXPECT_TRUE(absl::IsInvalidArgument(EnvelopePrefix(good, good, bad).status())) << bad;
  }
  EXPECT_FALSE(EnvelopePrefix(good, "", good).ok());
  EXPECT_FALSE(EnvelopePrefix(good, good, "").ok());
  EXPECT_TRUE(EnvelopePrefix("\xc3\xa4@b", good, good).ok()) << "RFC 6531";
}

}  // namespace
}  // namespace postern::store
