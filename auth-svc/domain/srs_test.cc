#include "auth-svc/domain/srs.h"

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace postern::auth {
namespace {

using testing::MatchesRegex;

constexpr char kKey[] = "0123456789abcdef";
// Day 20000 = 19 * 1024 + 544: "RA".
const absl::Time kNow = absl::UnixEpoch() + absl::Hours(24 * 20000 + 5);

std::string Rewrite(absl::string_view sender) {
  return RewriteSender(sender, "ours.test", kKey, kNow);
}

// Of the address "local-part@ours.test".
std::string Original(absl::string_view address, absl::Duration later = absl::ZeroDuration()) {
  EXPECT_TRUE(absl::ConsumeSuffix(&address, "@ours.test")) << address;
  std::string local_part(address);
  if (absl::StartsWith(address, "\"")) local_part = local_part.substr(1, address.size() - 2);
  return OriginalSender(local_part, kKey, kNow + later).value_or("none");
}

TEST(Srs, LeadsBack) {
  const struct {
    const char* sender;
    const char* rewritten;
    const char* original;
  } kCases[] = {
      {"alice@orig.test", "SRS0=[a-z2-7]{6}=RA=orig\\.test=alice@ours\\.test", "alice@orig.test"},
      {"Alice.B+c@Orig.Test", "SRS0=[a-z2-7]{6}=RA=orig\\.test=Alice\\.B\\+c@ours\\.test",
       "Alice.B+c@orig.test"},
      {"a=b=@orig.test", "SRS0=[a-z2-7]{6}=RA=orig\\.test=a=b=@ours\\.test", "a=b=@orig.test"},
      {"\"a b\"@orig.test", "\"SRS0=[a-z2-7]{6}=RA=orig\\.test=a b\"@ours\\.test",
       "\"a b\"@orig.test"},
      {"alice@[192.0.2.1]", "\"SRS0=[a-z2-7]{6}=RA=\\[192\\.0\\.2\\.1\\]=alice\"@ours\\.test",
       "alice@[192.0.2.1]"},
      // No forwarder's: only their beginning is alike.
      {"srs0@orig.test", "SRS0=[a-z2-7]{6}=RA=orig\\.test=srs0@ours\\.test", "srs0@orig.test"},
      {"SRS0.x=y@orig.test", "SRS0=[a-z2-7]{6}=RA=orig\\.test=SRS0\\.x=y@ours\\.test",
       "SRS0.x=y@orig.test"},
      {"SRS1=x@orig.test", "SRS0=[a-z2-7]{6}=RA=orig\\.test=SRS1=x@ours\\.test",
       "SRS1=x@orig.test"},
      {"SRS1=x=y@orig.test", "SRS0=[a-z2-7]{6}=RA=orig\\.test=SRS1=x=y@ours\\.test",
       "SRS1=x=y@orig.test"},
      {"SRS1=x=-y=+z@orig.test", "SRS0=[a-z2-7]{6}=RA=orig\\.test=SRS1=x=-y=\\+z@ours\\.test",
       "SRS1=x=-y=+z@orig.test"},
      // Another forwarder's.
      {"SRS0=abcd=XY=orig.test=alice@first.test",
       "SRS1=[a-z2-7]{6}=first\\.test==abcd=XY=orig\\.test=alice@ours\\.test",
       "SRS0=abcd=XY=orig.test=alice@first.test"},
      {"srs0+abcd=XY=orig.test=alice@first.test",
       "SRS1=[a-z2-7]{6}=first\\.test=\\+abcd=XY=orig\\.test=alice@ours\\.test",
       "SRS0+abcd=XY=orig.test=alice@first.test"},
      {"SRS0-x@first.test", "SRS1=[a-z2-7]{6}=first\\.test=-x@ours\\.test", "SRS0-x@first.test"},
      // The second one's gives its place to us.
      {"SRS1=wxyz=first.test==abcd=XY=orig.test=al@second.test",
       "SRS1=[a-z2-7]{6}=first\\.test==abcd=XY=orig\\.test=al@ours\\.test",
       "SRS0=abcd=XY=orig.test=al@first.test"},
      {"SRS1+wxyz=first.test=-abcd@second.test", "SRS1=[a-z2-7]{6}=first\\.test=-abcd@ours\\.test",
       "SRS0-abcd@first.test"},
  };
  for (const auto& c : kCases) {
    const std::string rewritten = Rewrite(c.sender);
    EXPECT_THAT(rewritten, MatchesRegex(c.rewritten)) << c.sender;
    EXPECT_EQ(Original(rewritten), c.original) << c.sender;
    // Hosts on the way back may fold case.
    for (const std::string& folded :
         {absl::AsciiStrToLower(rewritten),
          absl::StrCat(absl::AsciiStrToUpper(absl::StripSuffix(rewritten, "@ours.test")),
                       "@ours.test")}) {
      EXPECT_TRUE(absl::EqualsIgnoreCase(Original(folded), c.original)) << folded;
    }
  }
}

TEST(Srs, StaysAsItIs) {
  const std::string longest(64 - std::string("SRS0=123456=RA=orig.test=").size(), 'a');
  EXPECT_EQ(Original(Rewrite(longest + "@orig.test")), longest + "@orig.test");
  for (const std::string& sender :
       {std::string(), std::string("no address"), std::string("j\xc3\xb6rg@orig.test"),
        std::string("joerg@b\xc3\xbc"
                    "cher.test"),
        longest + "a@orig.test",
        // Its quotes count.
        absl::StrCat("\"", longest.substr(1), " \"@orig.test"),
        absl::StrCat("SRS0=", longest, "aaa@first.test")}) {
    EXPECT_EQ(Rewrite(sender), sender);
  }
}

TEST(Srs, TellsWhatIsNotOurs) {
  for (const char* sender : {"alice@orig.test", "SRS0=abcd=XY=orig.test=alice@first.test",
                             "SRS1=wxyz=first.test==abcd=XY=orig.test=alice@second.test"}) {
    const std::string rewritten = Rewrite(sender);
    const std::string local_part(absl::StripSuffix(rewritten, "@ours.test"));
    EXPECT_NE(OriginalSender(local_part, kKey, kNow), std::nullopt);
    EXPECT_EQ(OriginalSender(local_part, "another key", kNow), std::nullopt);
    EXPECT_EQ(OriginalSender(local_part + "x", kKey, kNow), std::nullopt);
    // Each octet counts.
    for (size_t i = 0; i < local_part.size(); ++i) {
      for (const char other : {'=', '4', '\0', '\xff'}) {
        std::string tampered = local_part;
        tampered[i] = tampered[i] == other ? 'q' : other;
        EXPECT_EQ(OriginalSender(tampered, kKey, kNow), std::nullopt) << tampered;
      }
      EXPECT_EQ(OriginalSender(local_part.substr(0, i), kKey, kNow), std::nullopt) << i;
    }
  }
}

TEST(Srs, Expires) {
  for (const std::string sender : {"alice@orig.test", "SRS0=abcd@first.test"}) {
    const std::string rewritten = Rewrite(sender);
    for (const int days : {-1, 0, 1, 20, 21, 1024, 1023}) {
      EXPECT_EQ(Original(rewritten, days * absl::Hours(24)), sender) << days;
    }
    for (const int days : {-3, -2, 22, 500, 1022}) {
      EXPECT_EQ(Original(rewritten, days * absl::Hours(24)), "none") << sender << days;
    }
  }
}

TEST(Srs, TakesWhateverComes) {
  for (const std::string& text :
       {std::string(), std::string("SRS0"), std::string("SRS0="), std::string("SRS0=="),
        std::string("SRS0==="), std::string("SRS0===="), std::string("SRS1="),
        std::string("SRS1==="), std::string("SRS0=aaaaaa=="), std::string("SRS0=aaaaaa=RA=="),
        std::string("SRS1=aaaaaa=="), std::string("SRS1=aaaaaa=x="), std::string("SRS0+aaaaaa=RA"),
        std::string("SRS0=\0\0\0\0\0\0=RA=x=y", 20), std::string(64, '='), std::string(64, '\0'),
        std::string("SRS0=") + std::string(1 << 20, 'a'), std::string(1 << 20, '=')}) {
    EXPECT_EQ(OriginalSender(text, kKey, kNow), std::nullopt) << text.substr(0, 64);
    const std::string sender = text + "@first.test";
    const std::string rewritten = Rewrite(sender);
    // As it is, or it leads back.
    EXPECT_TRUE(rewritten == sender || absl::EqualsIgnoreCase(Original(rewritten), sender))
        << text.substr(0, 64);
  }
}

}  // namespace
}  // namespace postern::auth
