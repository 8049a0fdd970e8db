#include "store-svc/domain/mailbox_id.h"

#include <string>

#include "gtest/gtest.h"

namespace postern::store {
namespace {

TEST(MailboxId, ReadsAndWritesHexadecimal) {
  absl::StatusOr<MailboxId> id = MailboxId::Parse("00112233445566778899aAbBcCdDeEfF");
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(id->ToString(), "00112233445566778899aabbccddeeff");
  EXPECT_EQ(id->octets().size(), MailboxId::kOctets);
  EXPECT_EQ(*id, *MailboxId::Parse("00112233445566778899AABBCCDDEEFF")) << "one name, one mailbox";
}

TEST(MailboxId, RefusesEverythingElse) {
  for (const std::string& text :
       {std::string(), std::string(31, '0'), std::string(33, '0'), std::string(32, 'g'),
        "0x" + std::string(30, '0'), "+1" + std::string(30, '0'), " 1" + std::string(30, '0'),
        std::string(31, '0') + "-", std::string(31, '0') + '\0', std::string(32, '\xff'),
        std::string("../../../../../../../../../../ab")}) {
    EXPECT_TRUE(absl::IsInvalidArgument(MailboxId::Parse(text).status())) << text;
  }
}

}  // namespace
}  // namespace postern::store
