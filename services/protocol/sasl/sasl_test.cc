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
  if (const auto* challenge = std::get_if<Challenge>(&step))
    return "challenge " + challenge->octets;
  if (std::holds_alternative<Malformed>(step)) return "malformed";
  const Credentials& found = std::get<Credentials>(step);
  return absl::StrCat(found.authorization_id, "|", found.authentication_id, "|", found.password);
}

std::string Last(absl::string_view mechanism, const Responses& responses) {
  const auto exchange = MakeMechanism(mechanism);
  std::string shown;
  for (const auto& response : responses) {
    shown = Show(response.has_value() ? exchange->Next(*response) : exchange->Next(std::nullopt));
  }
  return shown;
}

std::string Octets(absl::string_view text) {
  std::string octets(text);
  for (char& c : octets) c = c == '~' ? '\0' : c;
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

TEST(MechanismTest, OthersAreUnknown) {
  EXPECT_EQ(MakeMechanism("CRAM-MD5"), nullptr);
  EXPECT_EQ(MakeMechanism(""), nullptr);
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
