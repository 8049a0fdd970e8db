#include "services/crypto/random_id.h"

#include <algorithm>
#include <set>
#include <string>

#include "absl/strings/ascii.h"
#include "gtest/gtest.h"

namespace postern::crypto {
namespace {

bool IsLowerHex(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
  });
}

TEST(RandomId, IsHexadecimalAndNeverTheSame) {
  std::set<std::string> drawn;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = RandomId();
    EXPECT_EQ(id.size(), 32u);
    EXPECT_TRUE(IsLowerHex(id)) << id;
    EXPECT_TRUE(drawn.insert(id).second) << id;
  }
}

TEST(ShortRandomId, IsHexadecimalAndNeverTheSame) {
  std::set<std::string> drawn;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = ShortRandomId();
    EXPECT_EQ(id.size(), 16u);
    EXPECT_TRUE(IsLowerHex(id)) << id;
    EXPECT_TRUE(drawn.insert(id).second) << id;
  }
}

// Every bit is drawn: each digit's place has seen all sixteen.
TEST(RandomId, EveryDigitIsRandom) {
  std::set<char> seen[32];
  for (int i = 0; i < 1000; ++i) {
    const std::string id = RandomId();
    for (size_t place = 0; place < id.size(); ++place) seen[place].insert(id[place]);
  }
  for (const std::set<char>& digits : seen) EXPECT_EQ(digits.size(), 16u);
}

}  // namespace
}  // namespace postern::crypto
