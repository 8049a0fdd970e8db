#include "services/text/idna.h"

#include <string>

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace postern::text {
namespace {

TEST(ToALabels, OneSpelling) {
  const struct {
    const char* domain;
    const char* a_labels;
  } kCases[] = {
      {"bücher.example", "xn--bcher-kva.example"},
      {"BÜCHER.Example", "xn--bcher-kva.example"},
      {"xn--bcher-kva.example", "xn--bcher-kva.example"},
      // Non-transitional: its own name, not strasse.
      {"straße.test", "xn--strae-oqa.test"},
      // The ideographic full stop separates labels too (UTS #46).
      {"example\u3002test", "example.test"},
  };
  for (const auto& c : kCases) {
    const absl::StatusOr<std::string> a_labels = ToALabels(c.domain);
    ASSERT_TRUE(a_labels.ok()) << c.domain << ": " << a_labels.status();
    EXPECT_EQ(*a_labels, c.a_labels);
  }
}

TEST(ToALabels, RefusesWhatIsNoName) {
  for (const std::string& domain :
       {std::string("\xff.example"), std::string("xn--zzzzzzzz999.test"),
        std::string("b\xc3\xbc\0.test", 9), std::string(64, 'a') + ".b\xc3\xbc.test"}) {
    const absl::StatusOr<std::string> a_labels = ToALabels(domain);
    EXPECT_TRUE(absl::IsInvalidArgument(a_labels.status())) << domain;
    EXPECT_FALSE(a_labels.status().message().empty());
  }
}

TEST(ToALabels, LeavesNothingOut) {
  EXPECT_EQ(*ToALabels("_a.bücher.example"), "_a.xn--bcher-kva.example");
  EXPECT_EQ(*ToALabels("a_bücher.example"), "xn--a_bcher-p2a.example");
}

}  // namespace
}  // namespace postern::text
