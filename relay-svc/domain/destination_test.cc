#include "relay-svc/domain/destination.h"

#include <gtest/gtest.h>

namespace postern::relay {
namespace {

TEST(DestinationTest, Domains) {
  const struct {
    const char* domain;
    const char* destination;  // null: refused
  } cases[] = {
      {"remote.test", "remote.test"},
      {"Remote.TEST", "remote.test"},
      {"bücher.example", "xn--bcher-kva.example"},
      {"BÜCHER.example", "xn--bcher-kva.example"},
      {"", nullptr},
      {"[127.0.0.1]", "[127.0.0.1]"},
      {"[IPv6:::1]", "[ipv6:::1]"},
      {"\xff.example", nullptr},
  };
  for (const auto& c : cases) {
    const absl::StatusOr<std::string> destination = DestinationOf(c.domain);
    if (c.destination == nullptr) {
      EXPECT_TRUE(absl::IsInvalidArgument(destination.status())) << c.domain;
    } else {
      ASSERT_TRUE(destination.ok()) << c.domain << ": " << destination.status();
      EXPECT_EQ(*destination, c.destination);
    }
  }
}

TEST(DestinationTest, Literals) {
  EXPECT_EQ(LiteralOf("[192.0.2.1]"), "192.0.2.1");
  EXPECT_EQ(LiteralOf("[ipv6:2001:db8::1]"), "2001:db8::1");
  EXPECT_EQ(LiteralOf("remote.test"), std::nullopt);
  EXPECT_EQ(LiteralOf(""), std::nullopt);
}

TEST(DestinationTest, AddressesForAsciiHosts) {
  const struct {
    const char* address;
    const char* on_the_wire;
  } cases[] = {
      {"", ""},
      {"bob@remote.test", "bob@remote.test"},
      {"bob@bücher.example", "bob@xn--bcher-kva.example"},
      {"\"b b\"@bücher.example", "\"b b\"@xn--bcher-kva.example"},
      // Its local part needs SMTPUTF8 anyway.
      {"bøb@bücher.example", "bøb@bücher.example"},
      {"postmaster", "postmaster"},
  };
  for (const auto& c : cases) EXPECT_EQ(ForAsciiHosts(c.address), c.on_the_wire);
}

}  // namespace
}  // namespace postern::relay
