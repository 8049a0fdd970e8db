#include "auth-svc/domain/canonical.h"

#include <string>

#include "gtest/gtest.h"

namespace postern::auth {
namespace {

TEST(CanonicalDomain, OneSpelling) {
  struct {
    const char* text;
    const char* expected;
  } const kCases[] = {
      {"example.test", "example.test"},
      {"EXAMPLE.Test", "example.test"},
      {"example.test.", "example.test"},
      {"localhost", "localhost"},
      {"b\xc3\xbc"
       "cher.example",
       "xn--bcher-kva.example"},
      {"B\xc3\x9c"
       "CHER.example",
       "xn--bcher-kva.example"},
      {"xn--bcher-kva.example", "xn--bcher-kva.example"},
      {"XN--BCHER-KVA.EXAMPLE", "xn--bcher-kva.example"},
      // Non-transitional: its own name, not strasse.
      {"stra\xc3\x9f"
       "e.test",
       "xn--strae-oqa.test"},
      // The ideographic full stop separates labels too (UTS #46).
      {"example\xe3\x80\x82test", "example.test"},
  };
  for (const auto& c : kCases) {
    absl::StatusOr<std::string> name = CanonicalDomain(c.text);
    ASSERT_TRUE(name.ok()) << c.text << ": " << name.status();
    EXPECT_EQ(*name, c.expected) << c.text;
  }
}

TEST(CanonicalDomain, RefusesWhatIsNoHostName) {
  const std::string label64(64, 'a');
  for (const std::string& text :
       {std::string(""), std::string("."), std::string("a..b"), std::string(".a"),
        std::string("-a.test"), std::string("a-.test"), std::string("a b.test"),
        std::string("a_b.test"), std::string("a@b.test"), label64 + ".test", std::string(256, 'a'),
        std::string("a\0b.test", 8), std::string("a.test\n"), std::string("xn--zzzzzzzz999.test"),
        std::string("a_b\xc3\xbc"
                    "cher.test"),
        std::string("_a.b\xc3\xbc"
                    "cher.test"),
        std::string("a b\xc3\xbc"
                    "cher.test"),
        std::string("\xff\xfe.test"), std::string("[192.0.2.1]")}) {
    absl::StatusOr<std::string> name = CanonicalDomain(text);
    EXPECT_FALSE(name.ok()) << text << " became " << *name;
    EXPECT_EQ(name.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(name.status().message().find('\n'), absl::string_view::npos);
  }
}

TEST(CanonicalAddress, OneSpelling) {
  struct {
    const char* text;
    const char* local_part;
    const char* domain;
    const char* shown;
  } const kCases[] = {
      {"Alice@Example.Test", "alice", "example.test", "alice@example.test"},
      {"\"alice\"@example.test", "alice", "example.test", "alice@example.test"},
      {"\"John Doe\"@example.test", "john doe", "example.test", "\"john doe\"@example.test"},
      {"\"a@b\"@example.test", "a@b", "example.test", "\"a@b\"@example.test"},
      {"alice@b\xc3\xbc"
       "cher.example",
       "alice", "xn--bcher-kva.example", "alice@xn--bcher-kva.example"},
      {"alice@XN--LS8H.la.", "alice", "xn--ls8h.la", "alice@xn--ls8h.la"},
      {"alice@[192.0.2.1]", "alice", "[192.0.2.1]", "alice@[192.0.2.1]"},
  };
  for (const auto& c : kCases) {
    absl::StatusOr<Address> address = CanonicalAddress(c.text);
    ASSERT_TRUE(address.ok()) << c.text << ": " << address.status();
    EXPECT_EQ(address->local_part, c.local_part) << c.text;
    EXPECT_EQ(address->domain, c.domain) << c.text;
    EXPECT_EQ(address->ToString(), c.shown) << c.text;
    // What is shown is read back as the same: page tokens depend on it.
    EXPECT_EQ(*CanonicalAddress(address->ToString()), *address);
  }
}

TEST(ForwardAddress, KeepsTheLocalPart) {
  const struct {
    const char* text;
    const char* shown;
  } kCases[] = {
      {"Alice@Elsewhere.TEST", "Alice@elsewhere.test"},
      {"\"Alice\"@elsewhere.test.", "Alice@elsewhere.test"},
      {"\"A b\"@elsewhere.test", "\"A b\"@elsewhere.test"},
      {"J\xc3\x96RG@B\xc3\x9c"
       "CHER.example",
       "J\xc3\x96RG@xn--bcher-kva.example"},
      {"Alice@[192.0.2.1]", "Alice@[192.0.2.1]"},
  };
  for (const auto& c : kCases) {
    absl::StatusOr<Address> address = ForwardAddress(c.text);
    ASSERT_TRUE(address.ok()) << c.text << ": " << address.status();
    EXPECT_EQ(address->ToString(), c.shown) << c.text;
  }
  EXPECT_EQ(ForwardAddress("alice").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CanonicalAddress, RefusesWhatIsNoAddress) {
  for (const std::string& text :
       {std::string(""), std::string("alice"), std::string("@example.test"), std::string("alice@"),
        std::string("alice@-x.test"), std::string("a b@example.test"),
        std::string("alice@example.test\r\n"), std::string("a\0b@example.test", 16),
        std::string(65, 'a') + "@example.test"}) {
    EXPECT_EQ(CanonicalAddress(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace postern::auth
