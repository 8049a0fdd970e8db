#include "auth-svc/domain/password.h"

#include <string>

#include "gtest/gtest.h"

namespace postern::auth {
namespace {

constexpr Argon2Hasher::Cost kCheap{/*memory_octets=*/8 << 20, /*passes=*/1};

TEST(CheckNewPassword, Lengths) {
  EXPECT_FALSE(CheckNewPassword("").ok());
  EXPECT_FALSE(CheckNewPassword("1234567").ok());
  EXPECT_TRUE(CheckNewPassword("12345678").ok());
  EXPECT_TRUE(CheckNewPassword(std::string(1024, 'x')).ok());
  EXPECT_FALSE(CheckNewPassword(std::string(1025, 'x')).ok());
  EXPECT_TRUE(CheckNewPassword("correct horse \xc3\xa9").ok());
}

TEST(CheckNewPassword, RefusesControlsAndNeverRepeatsThePassword) {
  for (const std::string& password : {std::string("secret\0pass", 11), std::string("secret\npass"),
                                      std::string("secret\tpass"), std::string("secret\x7fpass")}) {
    absl::Status status = CheckNewPassword(password);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message().find("secret"), absl::string_view::npos);
  }
}

// R13: what is stored can't be read back.
TEST(Argon2Hasher, StoresAHashOfItsCost) {
  Argon2Hasher hasher(kCheap);
  absl::StatusOr<std::string> hash = hasher.Hash("correct horse");
  ASSERT_TRUE(hash.ok());
  EXPECT_EQ(hash->rfind("$argon2id$v=19$m=8192,t=1,p=1$", 0), 0u) << *hash;
  EXPECT_EQ(hash->find("correct"), std::string::npos);
  EXPECT_NE(*hash, *hasher.Hash("correct horse"));
}

TEST(Argon2Hasher, Verifies) {
  Argon2Hasher hasher(kCheap);
  const std::string hash = *hasher.Hash("correct horse");
  EXPECT_TRUE(*hasher.Verify(hash, "correct horse"));
  EXPECT_FALSE(*hasher.Verify(hash, "correct horsf"));
  EXPECT_FALSE(*hasher.Verify(hash, ""));
  EXPECT_FALSE(*hasher.Verify(hash, std::string(8192, 'x')));
  EXPECT_FALSE(*hasher.Verify("", "correct horse"));
  EXPECT_FALSE(*hasher.Verify("$argon2id$nonsense", "correct horse"));
  // A cost of its own, from before a change of the configuration.
  EXPECT_TRUE(*Argon2Hasher({16 << 20, 2}).Verify(hash, "correct horse"));
}

TEST(Wipe, Empties) {
  std::string secret = "correct horse";
  Wipe(&secret);
  EXPECT_TRUE(secret.empty());
  Wipe(&secret);
}

}  // namespace
}  // namespace postern::auth
