#include "auth-svc/domain/stored_hash.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace postern::auth {
namespace {

struct Taken {
  const char* name;
  const char* text;
  // As it is kept; "": the same.
  const char* kept;
};

class TakenHash : public testing::TestWithParam<Taken> {};

TEST_P(TakenHash, IsKeptAndChecked) {
  const absl::StatusOr<std::string> kept = CanonicalHash(GetParam().text);
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(*kept, *GetParam().kept == '\0' ? GetParam().text : GetParam().kept);
  EXPECT_EQ(*CanonicalHash(*kept), *kept);
  EXPECT_TRUE(*VerifyHash(*kept, "correct horse"));
  for (const absl::string_view wrong :
       {"correct horsf", "correct hors", "correct horse ", "", "Correct horse"}) {
    EXPECT_FALSE(*VerifyHash(*kept, wrong)) << wrong;
  }
  EXPECT_FALSE(*VerifyHash(*kept, absl::string_view("correct horse\0", 14)));
}

// Each is of "correct horse", made by the program named.
INSTANTIATE_TEST_SUITE_P(
    All, TakenHash,
    testing::ValuesIn<Taken>({
        {"doveadm_pw_ssha", "{SSHA}DURtlrYNoqi6N86XLd9vAEUA2DwLSx6M", ""},
        {"doveadm_pw_ssha256", "{SSHA256}fF8wCicJJc0L8LKn1Wyf5N7LyWeEvT9yZmd+j5lbIo610j2f", ""},
        {"doveadm_pw_ssha512",
         "{SSHA512}2Gn3T20gusPtLG8bOMSIF+Q+"
         "B4Xb2/tgv1pKkFERQTGymctP2KvD7OiZQKeFaZdXEoOy26N9c3B30i6EN0uTuScRKe0=",
         ""},
        {"doveadm_pw_sha512_crypt",
         "{SHA512-CRYPT}$6$0o5FvJo9/I9EW1tH$CqnWUzrNO2i9A/i2BFTiPEWVpb1ZN/"
         "sKOmToyAaav4M5siTe/aSTJzMLzorqQs.r04HM7Vx9dJY3c59Rbpmuu.",
         "$6$0o5FvJo9/I9EW1tH$CqnWUzrNO2i9A/i2BFTiPEWVpb1ZN/"
         "sKOmToyAaav4M5siTe/aSTJzMLzorqQs.r04HM7Vx9dJY3c59Rbpmuu."},
        {"doveadm_pw_sha256_crypt",
         "{SHA256-CRYPT}$5$9TK.Vq.RcrD8a6hj$K//rtN.O/Cqzgv9Z9QSRN322wO5OMJ9jg3orETUcEhD",
         "$5$9TK.Vq.RcrD8a6hj$K//rtN.O/Cqzgv9Z9QSRN322wO5OMJ9jg3orETUcEhD"},
        {"doveadm_pw_md5_crypt", "{MD5-CRYPT}$1$HTBhZxjO$3CT.EkJjNLrcIu1ICOiHf.",
         "$1$HTBhZxjO$3CT.EkJjNLrcIu1ICOiHf."},
        {"doveadm_pw_blf_crypt",
         "{blf-crypt}$2y$05$7Oz8u8fFrgOo56InFfrPYO32LQgZXdzgse55knaN4mraThGBn2Bvu",
         "$2y$05$7Oz8u8fFrgOo56InFfrPYO32LQgZXdzgse55knaN4mraThGBn2Bvu"},
        {"doveadm_pw_argon2id",
         "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$W/7tx0x8c9ePhkKnC1cDuw$lH0t0v4fvXVWOvU28dJ/"
         "zcFmZ3GeOBhdfRUX9jjuQTw",
         "$argon2id$v=19$m=65536,t=3,p=1$W/7tx0x8c9ePhkKnC1cDuw$lH0t0v4fvXVWOvU28dJ/"
         "zcFmZ3GeOBhdfRUX9jjuQTw"},
        {"doveadm_pw_crypt", "{CRYPT}$2y$05$VILPORgTshWeWw6pJykoU.GviyPPmIb737ndhaNeg43sGmJnS9B9C",
         "$2y$05$VILPORgTshWeWw6pJykoU.GviyPPmIb737ndhaNeg43sGmJnS9B9C"},
        {"openssl_passwd_1", "$1$abcdefgh$y6iHhJNbuC0xpbk0w9pm80", ""},
        {"python_crypt_yescrypt",
         "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$zwtVrjrUCmXcyLTs6oxLTQlzifSUkF8RHJ./tK5KU79", ""},
        {"python_crypt_sha512_rounds",
         "$6$rounds=10000$saltsaltsalt$XbL0wa.99vvsRYMr5bBKdITb.ZHLqGROubWVobCta9RxXByqp.P8f."
         "uGgQGfR4VQvUS2ybvGNqru9cEcwv0Yt1",
         ""},
        {"python_crypt_bcrypt", "$2b$12$abcdefghijklmnopqrstuuFDJRuYeKkCzo3Wy7h8SxhBSHBAHiPK2", ""},
        {"python_hashlib_pbkdf2_hmac",
         "{PBKDF2-SHA256}10000$MDEyMzQ1Njc4OWFiY2RlZg$"
         "TI2grtvV1HW5nz2rBY4tctlrmOj5bZs0dw9j8NHpRRc",
         ""},
    }),
    [](const testing::TestParamInfo<Taken>& info) { return info.param.name; });

TEST(CanonicalHash, RefusesTheRestAndSaysWhy) {
  constexpr absl::string_view kBcrypt = "abcdefghijklmnopqrstuuFDJRuYeKkCzo3Wy7h8SxhBSHBAHiPK2";
  const struct {
    std::string text;
    const char* says;
  } kCases[] = {
      {"", "names no scheme that is taken"},
      {"correct horse", "has blanks"},
      {"correct-horse", "names no scheme"},
      {"{PLAIN}secret", "scheme {PLAIN} are not taken"},
      {"{MD5}X03MO1qnZdYdgyfeuILPmQ==", "scheme {MD5} are not taken"},
      {"{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "scheme {SHA} are not taken (did you mean {SSHA}?)"},
      {"{SHA512CRYPT}$6$salt$x", "did you mean {SHA512-CRYPT}?"},
      {"{CRYPT}rl0uE1wQ6yBUA", "after {CRYPT} comes $y$"},
      {"{MD5-CRYPT}$6$salt$x", "after {MD5-CRYPT} comes $1$"},
      {"rl0uE1wQ6yBUA", "names no scheme"},
      {"{SSHA", "names no scheme"},
      {"{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "a salt of 4 to 64"},
      {"{SSHA}!!!!", "after {SSHA} comes the base64"},
      {"{SSHA256}DURtlrYNoqi6N86XLd9vAEUA2DwLSx6M", "after {SSHA256} comes the base64"},
      {"{PBKDF2-SHA256}10000$MDEyMzQ1", "comes rounds$salt$key"},
      {"{PBKDF2-SHA256}0$MDEyMzQ1Njc4OWFiY2RlZg$TI2grtvV1HW5nz2rBY4tctlrmOj5bZs0dw9j8NHpRRc",
       "comes rounds$salt$key"},
      {"{PBKDF2-SHA256}9000000$MDEyMzQ1Njc4OWFiY2RlZg$TI2grtvV1HW5nz2rBY4tctlrmOj5bZs0dw9j8NHpRRc",
       "too dear"},
      {absl::StrCat("$2b$31$", kBcrypt),
       "too dear to check at each login: bcrypt's cost at most 14"},
      {absl::StrCat("$2b$xx$", kBcrypt), "bcrypt has a cost"},
      {"$2b$10$short", "bcrypt has a cost"},
      {"$6$rounds=999999999$salt$x", "too dear"},
      {"$6$rounds=x$salt$x", "rounds= has a number"},
      {"$6$salt$too-short", "another length"},
      {"$1$abcdefgh$y6iHhJNbuC0xpbk0w9pm8", "another length"},
      {"$y$jFT$F5Jx5fExrKuPp53xLKQ..1$zwtVrjrUCmXcyLTs6oxLTQlzifSUkF8RHJ./tK5KU79", "too dear"},
      {"$y$k9T$F5Jx5fExrKuPp53xLKQ..1$zwtVrjrUCmXcyLTs6oxLTQlzifSUkF8RHJ./tK5KU79", "yescrypt has"},
      {"$argon2id$v=19$m=65536,t=3,p=1$W/7tx0x8c9ePhkKnC1cDuw", "argon2id has a version"},
      {"$argon2id$v=19$m=65536,t=3$W/7tx0x8c9ePhkKnC1cDuw$lH0t0v4f", "argon2id's costs are"},
      {"$argon2id$v=19$m=4194304,t=3,p=1$W/7tx0x8c9ePhkKnC1cDuw$lH0t0v4f", "too dear"},
      {"$argon2id$v=19$m=65536,t=3,p=1$!$lH0t0v4f", "libsodium takes no such"},
      {"$argon2i$v=19$m=65536,t=3,p=1$W/7tx0x8c9ePhkKnC1cDuw$lH0t0v4f", "names no scheme"},
      {std::string(600, '$'), "more than 512"},
  };
  for (const auto& c : kCases) {
    const absl::StatusOr<std::string> kept = CanonicalHash(c.text);
    EXPECT_EQ(kept.status().code(), absl::StatusCode::kInvalidArgument) << c.text;
    EXPECT_TRUE(absl::StrContains(kept.status().message(), c.says)) << kept.status();
  }
}

TEST(VerifyHash, WhatIsNoneMatchesNothing) {
  for (const char* hash :
       {"", "x", "*", "*0", "!", "{SSHA}", "{SSHA}x", "{PLAIN}correct horse", "$6$", "$6$salt$",
        "$argon2id$", "$argon2id$nonsense", "{PBKDF2-SHA256}1$$", "correct horse"}) {
    EXPECT_FALSE(*VerifyHash(hash, "correct horse")) << hash;
    EXPECT_FALSE(*VerifyHash(hash, "")) << hash;
  }
}

}  // namespace
}  // namespace postern::auth
