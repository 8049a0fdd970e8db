#include "store-svc/domain/mailbox_id.h"

#include <string>

#include "gtest/gtest.h"

namespace postern::store {
namespace {

TEST(MailboxId, ReadsAndWritesHexadecimal) {
  absl::StatusOr<MailboxId> id = MailboxId::Parse("00112233445566778899aAbBcCdDeEfF");
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(id->ToString(), "00112233445566778899aabbccddeeff");
  EXPECT_EQ(id->octets().size(), 16u);
  EXPECT_EQ(id->shard(), 0);
  EXPECT_EQ(*id, *MailboxId::Parse("00112233445566778899AABBCCDDEEFF")) << "one name, one mailbox";
}

TEST(MailboxId, KnowsItsShard) {
  const std::string digits = "00112233445566778899aabbccddeeff";
  for (const int32_t shard : {1, 7, 256, 70000, 2147483647}) {
    absl::StatusOr<MailboxId> id = MailboxId::Parse(std::to_string(shard) + "-" + digits);
    ASSERT_TRUE(id.ok()) << id.status();
    EXPECT_EQ(id->shard(), shard);
    EXPECT_EQ(id->ToString(), std::to_string(shard) + "-" + digits);
    EXPECT_EQ(MailboxId::FromOctets(id->octets()), *id);
    EXPECT_FALSE(*id == *MailboxId::Parse(digits));
  }
  EXPECT_LT(*MailboxId::Parse(std::string(32, 'f')), *MailboxId::Parse("1-" + digits));
  EXPECT_LT(*MailboxId::Parse("1-" + std::string(32, 'f')), *MailboxId::Parse("256-" + digits));
}

TEST(MailboxId, RefusesEverythingElse) {
  for (const std::string& text :
       {std::string(), std::string(31, '0'), std::string(33, '0'), std::string(32, 'g'),
        "0x" + std::string(30, '0'), "+1" + std::string(30, '0'), " 1" + std::string(30, '0'),
        std::string(31, '0') + "-", std::string(31, '0') + '\0', std::string(32, '\xff'),
        std::string("../../../../../../../../../../ab"), "-" + std::string(32, '0'),
        "0-" + std::string(32, '0'), "01-" + std::string(32, '0'), "-1-" + std::string(32, '0'),
        "2147483648-" + std::string(32, '0'), "1-" + std::string(31, '0'),
        "1-1-" + std::string(32, '0'), "7" + std::string(32, '0')}) {
    EXPECT_TRUE(absl::IsInvalidArgument(MailboxId::Parse(text).status())) << text;
  }
}

}  // namespace
}  // namespace postern::store
