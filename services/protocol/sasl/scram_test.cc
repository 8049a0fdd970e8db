#include "services/protocol/sasl/scram.h"

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "services/protocol/sasl/base64.h"

namespace postern::sasl {
namespace {

using Proof = ScramExchange::Proof;

std::string Decode(absl::string_view base64) {
  std::string octets;
  EXPECT_TRUE(DecodeBase64(base64, octets));
  return octets;
}

// RFC 7677 3.
constexpr char kClientFirst[] = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
constexpr char kServerNonce[] = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
constexpr char kServerFirst[] =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
constexpr char kClientFinal[] =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
constexpr char kServerFinal[] = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

ScramVerifier Pencil() {
  return *MakeScramVerifier("pencil", Decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096);
}

TEST(ScramTest, Rfc7677) {
  ScramExchange exchange(/*bound=*/false, /*plus_offered=*/true, {}, kServerNonce);
  const auto first = exchange.ReadClientFirst(kClientFirst);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->authentication_id, "user");
  EXPECT_EQ(first->authorization_id, "");
  EXPECT_EQ(exchange.ServerFirst(Pencil()), kServerFirst);
  EXPECT_EQ(exchange.ReadClientFinal(kClientFinal), Proof::kRight);
  EXPECT_EQ(exchange.ServerFinal(), kServerFinal);
}

TEST(ScramTest, AVerifierIsKeptAsText) {
  // doveadm pw -s SCRAM-SHA-256 -u user -p pencil has this form.
  const std::string text = Pencil().ToString();
  EXPECT_EQ(text.substr(0, 30), "4096,W22ZaJ0SNY7soEsUEjb6gQ==,");
  EXPECT_EQ(ScramVerifier::FromString(text), Pencil());
  for (const std::string& bad :
       {std::string(), std::string("4096"), text + ",", absl::StrReplaceAll(text, {{"4096", "0"}}),
        absl::StrReplaceAll(text, {{"4096", "1000001"}}),
        absl::StrReplaceAll(text, {{"4096", "-1"}}), text.substr(0, text.size() - 4),
        absl::StrReplaceAll(text, {{"W22ZaJ0SNY7soEsUEjb6gQ==", ""}})}) {
    EXPECT_EQ(ScramVerifier::FromString(bad), std::nullopt) << bad;
  }
}

// RFC 4013 3: what looks the same is the same password.
TEST(ScramTest, PasswordsArePrepared) {
  const std::string salt = "0123456789abcdef";
  EXPECT_EQ(*MakeScramVerifier("I\xc2\xadX", salt, 1), *MakeScramVerifier("IX", salt, 1));
  EXPECT_EQ(*MakeScramVerifier("\xc2\xaa", salt, 1), *MakeScramVerifier("a", salt, 1));
  EXPECT_NE(*MakeScramVerifier("USER", salt, 1), *MakeScramVerifier("user", salt, 1));
  for (const std::string& forbidden : {std::string("\x07"),
                                       std::string("\xd8\xa7"
                                                   "1"),
                                       std::string("a\0b", 3), std::string("\xc2\xad")}) {
    EXPECT_FALSE(MakeScramVerifier(forbidden, salt, 1).ok()) << absl::CEscape(forbidden);
  }
}

TEST(ScramTest, FirstMessages) {
  struct Case {
    const char* message;
    // "authzid|authcid", or "" for what is refused.
    const char* read;
    bool bound = false;
    bool plus_offered = true;
  };
  for (const Case& one : std::vector<Case>{
           {"n,,n=user,r=abc", "|user"},
           {"n,a=other,n=user,r=abc", "other|user"},
           {"n,,n=a=2Cb=3Dc,r=abc", "|a,b=c"},
           {"n,,n=user,r=abc,x=later", "|user"},
           {"y,,n=user,r=abc", "|user", false, false},
           // The client can bind and was not shown that we can.
           {"y,,n=user,r=abc", ""},
           {"p=tls-exporter,,n=user,r=abc", "|user", true},
           {"p=tls-server-end-point,,n=user,r=abc", "|user", true},
           {"p=tls-unique,,n=user,r=abc", "", true},
           {"p=,,n=user,r=abc", "", true},
           {"p=tls-exporter,,n=user,r=abc", ""},
           {"n,,n=user,r=abc", "", true},
           {"y,,n=user,r=abc", "", true},
           {"", ""},
           {"n", ""},
           {"n,", ""},
           {"n,,", ""},
           {"n,,n=user", ""},
           {"n,,n=user,r=", ""},
           {"n,,n=user,r=a b", ""},
           {"n,,n=user,r=\xc3\xa4", ""},
           {"n,,n=,r=abc", ""},
           {"n,,n=us=er,r=abc", ""},
           {"n,,n=us=2cer,r=abc", ""},
           {"n,,n=\xff,r=abc", ""},
           {"n,,m=new,n=user,r=abc", ""},
           {"n,other,n=user,r=abc", ""},
           {"n,a=,n=user,r=abc", ""},
           {"F,n,,n=user,r=abc", ""},
       }) {
    ScramExchange exchange(one.bound, one.plus_offered, {"exported", "end point"}, "server");
    const auto first = exchange.ReadClientFirst(one.message);
    EXPECT_EQ(first.has_value()
                  ? absl::StrCat(first->authorization_id, "|", first->authentication_id)
                  : "",
              one.read)
        << one.message;
  }
}

TEST(ScramTest, ABindingThatThisConnectionHasNotIsRefused) {
  ScramExchange exchange(/*bound=*/true, true, {"", "end point"}, "server");
  EXPECT_EQ(exchange.ReadClientFirst("p=tls-exporter,,n=user,r=abc"), std::nullopt);
}

TEST(ScramTest, FinalMessages) {
  const std::string good = kClientFinal;
  struct Case {
    std::string message;
    Proof proof;
  };
  for (const Case& one : std::vector<Case>{
           {good, Proof::kRight},
           {absl::StrReplaceAll(good, {{"p=dHzb", "p=dHzc"}}), Proof::kWrong},
           // Signed along, so that the proof is another.
           {absl::StrReplaceAll(good, {{"biws", "eSws"}}), Proof::kWrong},
           {absl::StrReplaceAll(good, {{"hNlF$k0", "hNlF$k1"}}), Proof::kMalformed},
           {absl::StrReplaceAll(good, {{"biws", "biw"}}), Proof::kMalformed},
           {absl::StrReplaceAll(good, {{"c=biws,", ""}}), Proof::kMalformed},
           {absl::StrReplaceAll(good, {{"p=", "q="}}), Proof::kMalformed},
           {good.substr(0, good.size() - 4), Proof::kMalformed},
           {"", Proof::kMalformed},
           {",p=", Proof::kMalformed},
       }) {
    ScramExchange exchange(false, true, {}, kServerNonce);
    ASSERT_TRUE(exchange.ReadClientFirst(kClientFirst).has_value());
    exchange.ServerFirst(Pencil());
    EXPECT_EQ(exchange.ReadClientFinal(one.message), one.proof) << one.message;
  }
}

}  // namespace
}  // namespace postern::sasl
