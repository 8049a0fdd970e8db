#include "auth-svc/ldap/filter.h"

#include "gtest/gtest.h"

namespace postern::auth::ldap {
namespace {

TEST(Filter, ValuesAreEscaped) {
  const struct {
    std::string value;
    std::string in_filter;
    std::string in_dn;
  } cases[] = {
      {"alice", "alice", "alice"},
      {"", "", ""},
      // RFC 4515 4.
      {"Parens R Us (for all your parenthetical needs)",
       "Parens R Us \\28for all your parenthetical needs\\29",
       "Parens\\20R\\20Us\\20(for\\20all\\20your\\20parenthetical\\20needs)"},
      {"*", "\\2a", "*"},
      {"C:\\MyFile", "C:\\5cMyFile", "C:\\5cMyFile"},
      {std::string("a\0b", 3), "a\\00b", "a\\00b"},
      {"Lu\xc4\x8di\xc4\x87", "Lu\\c4\\8di\\c4\\87", "Lu\\c4\\8di\\c4\\87"},
      // RFC 4514 4.
      {"James \"Jim\" Smith, III", "James \"Jim\" Smith, III",
       "James\\20\\22Jim\\22\\20Smith\\2c\\20III"},
      {"x)(uid=*", "x\\29\\28uid=\\2a", "x)(uid\\3d*"},
      {"#1+2;<3>", "#1+2;<3>", "\\231\\2b2\\3b\\3c3\\3e"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(EscapeFilterValue(c.value), c.in_filter);
    EXPECT_EQ(EscapeDnValue(c.value), c.in_dn);
  }
}

TEST(Filter, AnAddressIsPutIn) {
  const Address address{"o*b", "a.test"};
  EXPECT_EQ(Expand("(|(mail=%s)(uid=%u)(dc=%d)(cn=100%%))", address, &EscapeFilterValue),
            "(|(mail=o\\2ab@a.test)(uid=o\\2ab)(dc=a.test)(cn=100%))");
  EXPECT_EQ(Expand("uid=%u,ou=people", {"a,b", "a.test"}, &EscapeDnValue), "uid=a\\2cb,ou=people");
}

TEST(Filter, PatternsThatMeanNothingAreRefused) {
  for (const char* good : {"(mail=%s)", "uid=%u", "%s %d %%"}) {
    EXPECT_EQ(CheckPattern(good), absl::OkStatus()) << good;
  }
  for (const char* bad : {"(mail=*)", "(mail=%a)", "(mail=%s)%", "(dc=%d)", "", "%%s"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CheckPattern(bad))) << bad;
  }
}

TEST(Filter, FiltersAreChecked) {
  for (const char* good :
       {"(mail=%s)", "(&(objectClass=person)(|(mail=%s)(uid=%u)))",
        "(&(userAccountControl:1.2.840.113556.1.4.803:=2)(mail=%s))", "(!(mail=%s))"}) {
    EXPECT_EQ(CheckFilter(good), absl::OkStatus()) << good;
  }
  for (const char* bad : {"(mail=%s", "(&(mail=%s)", "((mail=%s))", "(mail%s)", "(&)x%s)"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CheckFilter(bad))) << bad;
  }
}

}  // namespace
}  // namespace postern::auth::ldap
