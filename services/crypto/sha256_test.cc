#include "services/crypto/sha256.h"

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

namespace postern::crypto {
namespace {

// FIPS 180-2, B.1 and B.2.
constexpr absl::string_view kOfAbc =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr absl::string_view kOfTwoBlocks =
    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";

TEST(Sha256, OfAllAtOnce) {
  EXPECT_EQ(absl::BytesToHexString(Sha256Of("abc")), kOfAbc);
  EXPECT_EQ(
      absl::BytesToHexString(Sha256Of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
      kOfTwoBlocks);
  EXPECT_EQ(Sha256Of("").size(), kSha256Octets);
}

TEST(Sha256, InAnyPieces) {
  Sha256 hash;
  hash.Update("a");
  hash.Update("");
  hash.Update("bc");
  EXPECT_EQ(absl::BytesToHexString(hash.Finish()), kOfAbc);
}

TEST(Sha256, AFieldHasItsLengthBeforeIt) {
  Sha256 hash;
  hash.Field("ab");
  hash.Field("");
  hash.Field("0123456789");
  EXPECT_EQ(hash.Finish(), Sha256Of("2:ab0:10:0123456789"));
}

}  // namespace
}  // namespace postern::crypto
