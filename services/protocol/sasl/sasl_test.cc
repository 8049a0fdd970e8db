#include "services/protocol/sasl/sasl.h"

#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "services/protocol/sasl/base64.h"

namespace postern::sasl {
namespace {

using Responses = std::vector<std::optional<std::string>>;

std::string Show(const Step& step) {
  struct Shower {
    std::string operator()(const Challenge& c) const { return "challenge " + c.octets; }
    std::string operator()(const Credentials& c) const {
      return absl::StrCat(c.authorization_id, "|", c.authentication_id, "|", c.password);
    }
    std::string operator()(const VerifierWanted& w) const {
      return absl::StrCat("verifier of ", w.authorization_id, "|", w.authentication_id);
    }
    std::string operator()(const Proof& p) const {
      return p.proof == ScramExchange::Proof::kRight ? "proof " + p.server_final : "no proof";
    }
    std::string operator()(const Bearer& b) const {
      return absl::StrCat("bearer ", b.authorization_id, "|", b.token);
    }
    std::string operator()(const External& e) const { return "external " + e.authorization_id; }
    std::string operator()(const Malformed&) const { return "malformed"; }
  };
  return std::visit(Shower(), step);
}

std::string Last(absl::string_view mechanism, const Responses& responses) {
  const auto exchange = MakeMechanism(mechanism, {});
  std::string shown;
  for (const auto& response : responses) {
    shown = Show(response.has_value() ? exchange->Next(*response) : exchange->Next(std::nullopt));
  }
  return shown;
}

std::string Octets(absl::string_view text) {
  std::string octets(text);
  for (char& c : octets) c = c == '~' ? '\0' : c == '^' ? '\1' : c;
  return octets;
}

TEST(PlainTest, Parses) {
  EXPECT_EQ(Last("PLAIN", {std::nullopt}), "challenge ");
  EXPECT_EQ(Last("PLAIN", {std::nullopt, Octets("~alice~secret")}), "|alice|secret");
  EXPECT_EQ(Last("plain", {Octets("~alice@x~sec ret")}), "|alice@x|sec ret");
  EXPECT_EQ(Last("PLAIN", {Octets("~ä~ö")}), "|ä|ö");
}

// The predecessor took the first part for the password's owner.
TEST(PlainTest, DefectAuthorizationIdentityIsKeptApart) {
  EXPECT_EQ(Last("PLAIN", {Octets("bob~alice~secret")}), "bob|alice|secret");
  EXPECT_EQ(Last("PLAIN", {Octets("alice~alice~secret")}), "alice|alice|secret");
}

TEST(PlainTest, RefusesWhatIsNotPlain) {
  for (const std::string& response :
       {Octets(""), Octets("alice"), Octets("alice~secret"), Octets("~~"), Octets("~alice~"),
        Octets("~~secret"), Octets("~alice~sec~ret"), Octets("~\xff~secret"), Octets("~alice~\xff"),
        Octets(absl::StrCat("~", std::string(256, 'a'), "~x")),
        Octets(absl::StrCat("~a~", std::string(1025, 'x')))}) {
    EXPECT_EQ(Last("PLAIN", {response}), "malformed") << response;
  }
}

TEST(LoginTest, Parses) {
  EXPECT_EQ(Last("LOGIN", {std::nullopt}), "challenge Username:");
  EXPECT_EQ(Last("LOGIN", {std::nullopt, "alice"}), "challenge Password:");
  EXPECT_EQ(Last("LOGIN", {std::nullopt, "alice", "secret"}), "|alice|secret");
  EXPECT_EQ(Last("LOGIN", {"alice", "secret"}), "|alice|secret");
}

TEST(LoginTest, Refuses) {
  EXPECT_EQ(Last("LOGIN", {std::nullopt, ""}), "malformed");
  EXPECT_EQ(Last("LOGIN", {std::nullopt, Octets("a~b")}), "malformed");
  EXPECT_EQ(Last("LOGIN", {std::nullopt, "alice", ""}), "malformed");
  EXPECT_EQ(Last("LOGIN", {std::nullopt, "alice", Octets("a~b")}), "malformed");
}

// RFC 7677 3.
TEST(ScramTest, GoesItsWay) {
  const auto exchange = MakeMechanism("SCRAM-SHA-256", {{}, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"});
  EXPECT_EQ(Show(exchange->Next(std::nullopt)), "challenge ");
  EXPECT_EQ(Show(exchange->Next("n,,n=user,r=rOprNGfwEbeRWgbNEkqO")), "verifier of |user");
  std::string salt;
  ASSERT_TRUE(DecodeBase64("W22ZaJ0SNY7soEsUEjb6gQ==", salt));
  EXPECT_EQ(Show(exchange->Provide(*MakeScramVerifier("pencil", salt, 4096))),
            "challenge r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
  EXPECT_EQ(Show(exchange->Next("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")),
            "proof v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

TEST(ScramTest, BindsWithWhatTheConnectionHas) {
  const Surroundings bound{{"exported", ""}, "nonce"};
  EXPECT_EQ(Show(MakeMechanism("SCRAM-SHA-256-PLUS", bound)->Next("p=tls-exporter,,n=u,r=1")),
            "verifier of |u");
  EXPECT_EQ(
      Show(MakeMechanism("SCRAM-SHA-256-PLUS", {{}, "nonce"})->Next("p=tls-exporter,,n=u,r=1")),
      "malformed");
  // Who could bind was kept from seeing that we can.
  EXPECT_EQ(Show(MakeMechanism("SCRAM-SHA-256", bound)->Next("y,,n=u,r=1")), "malformed");
  EXPECT_EQ(Show(MakeMechanism("SCRAM-SHA-256", {{}, "nonce"})->Next("y,,n=u,r=1")),
            "verifier of |u");
}

// RFC 7628 4.1.
TEST(OAuthBearerTest, Parses) {
  EXPECT_EQ(Last("OAUTHBEARER", {std::nullopt}), "challenge ");
  EXPECT_EQ(
      Last("OAUTHBEARER", {Octets("n,a=user@example.com,^host=server.example.com^port=143^"
                                  "auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==^^")}),
      "bearer user@example.com|vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
  EXPECT_EQ(Last("OAUTHBEARER", {Octets("n,,^auth=bearer a.b.c^^")}), "bearer |a.b.c");
  EXPECT_EQ(Last("OAUTHBEARER", {Octets("y,,^auth=Bearer a.b.c^^")}), "bearer |a.b.c");
}

TEST(OAuthBearerTest, Refuses) {
  for (const char* response :
       {"", "n,,", "n,,^^", "n,,^auth=Bearer a^", "n,,^auth=Bearer ^^", "n,,^auth=Basic a^^",
        "n,,^auth=Bearer a b^^", "n,,^auth=Bearer a~^^", "n,a=,^auth=Bearer a^^",
        "n,a=x=y,^auth=Bearer a^^", "p=tls-exporter,,^auth=Bearer a^^", "n,b=x,^auth=Bearer a^^",
        "n^auth=Bearer a^^", "n,,^host=x^^"}) {
    EXPECT_EQ(Last("OAUTHBEARER", {Octets(response)}), "malformed") << response;
  }
}

TEST(XOAuth2Test, Parses) {
  EXPECT_EQ(Last("XOAUTH2", {Octets("user=alice@example.com^auth=Bearer ya29.vF9dft4^^")}),
            "bearer alice@example.com|ya29.vF9dft4");
  for (const char* response : {"", "user=^auth=Bearer a^^", "user=a^^", "auth=Bearer a^user=b^^",
                               "user=a^auth=Bearer a", "user=a~b^auth=Bearer a^^"}) {
    EXPECT_EQ(Last("XOAUTH2", {Octets(response)}), "malformed") << response;
  }
}

TEST(ExternalTest, Parses) {
  EXPECT_EQ(Last("EXTERNAL", {std::nullopt}), "challenge ");
  EXPECT_EQ(Last("EXTERNAL", {""}), "external ");
  EXPECT_EQ(Last("EXTERNAL", {"alice@example.com"}), "external alice@example.com");
  EXPECT_EQ(Last("EXTERNAL", {Octets("a~b")}), "malformed");
}

TEST(MechanismTest, OthersAreUnknown) {
  EXPECT_EQ(MakeMechanism("CRAM-MD5", {}), nullptr);
  EXPECT_EQ(MakeMechanism("", {}), nullptr);
}

TEST(Base64Test, IsStrict) {
  std::string octets;
  const std::pair<std::string, std::string> kGood[] = {
      {"", ""}, {"AA==", std::string(1, '\0')}, {"YWI=", "ab"}, {"YWJj", "abc"}};
  for (const auto& [text, expected] : kGood) {
    EXPECT_TRUE(DecodeBase64(text, octets)) << text;
    EXPECT_EQ(octets, expected);
    EXPECT_EQ(EncodeBase64(expected), text);
  }
  for (const char* text : {"=", "==", "A", "AA", "AA=", "AB==", "YWJj=", "YWJj====", "YW Jj",
                           "YWJj ", "YWI.", "YW-_", "AA==AA==", "\xff\xff\xff\xff", "YWJj\t"}) {
    EXPECT_FALSE(DecodeBase64(text, octets)) << text;
  }
}

}  // namespace
}  // namespace postern::sasl
