#include "relay-svc/smtp/inner_addresses.h"

#include <gtest/gtest.h>

#include <vector>

namespace postern::relay {
namespace {

boost::asio::ip::address At(const char* text) { return boost::asio::ip::make_address(text); }

TEST(InnerAddresses, WhatADnsMayLeadTo) {
  const struct {
    const char* address;
    bool inner;
  } cases[] = {
      {"0.0.0.0", true},
      {"0.1.2.3", true},
      {"9.255.255.255", false},
      {"10.0.0.1", true},
      {"10.255.255.255", true},
      {"11.0.0.0", false},
      {"100.63.255.255", false},
      {"100.64.0.1", true},
      {"100.128.0.0", false},
      {"127.0.0.1", true},
      {"127.255.255.254", true},
      {"128.0.0.1", false},
      {"169.254.169.254", true},
      {"172.15.0.1", false},
      {"172.16.0.1", true},
      {"172.31.255.255", true},
      {"172.32.0.1", false},
      {"192.168.1.1", true},
      {"192.169.0.1", false},
      {"198.18.0.1", true},
      {"224.0.0.1", true},
      {"255.255.255.255", true},
      {"192.0.2.1", false},
      {"8.8.8.8", false},
      {"::", true},
      {"::1", true},
      {"fe80::1", true},
      {"fd12:3456::1", true},
      {"fc00::1", true},
      {"ff02::1", true},
      {"2001:db8::1", false},
      {"2a00:1450::1", false},
      // The same in other clothes.
      {"::ffff:127.0.0.1", true},
      {"::ffff:8.8.8.8", false},
      {"::127.0.0.1", true},
      {"64:ff9b::10.0.0.1", true},
      {"64:ff9b::8.8.8.8", false},
      {"64:ff9b:1::1", true},
      {"2002:7f00:1::1", true},
      {"2002:808:808::1", false},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(InnerKind(At(c.address)) != nullptr, c.inner) << c.address;
    EXPECT_EQ(MayDeliverTo(At(c.address), {}), !c.inner) << c.address;
  }
}

TEST(InnerAddresses, WhatIsAllowedByName) {
  const std::vector<Network> allowed = {*Network::Parse("10.1.0.0/16"), *Network::Parse("fd00::/8"),
                                        *Network::Parse("127.0.0.7")};
  EXPECT_TRUE(MayDeliverTo(At("10.1.2.3"), allowed));
  EXPECT_TRUE(MayDeliverTo(At("::ffff:10.1.2.3"), allowed));
  EXPECT_FALSE(MayDeliverTo(At("10.2.0.1"), allowed));
  EXPECT_TRUE(MayDeliverTo(At("fd00::1"), allowed));
  EXPECT_TRUE(MayDeliverTo(At("127.0.0.7"), allowed));
  EXPECT_FALSE(MayDeliverTo(At("127.0.0.8"), allowed));
}

TEST(InnerAddresses, Networks) {
  for (const char* good : {"10.0.0.0/8", "0.0.0.0/0", "::/0", "192.0.2.1", "192.0.2.1/32", "::1"}) {
    EXPECT_TRUE(Network::Parse(good).ok()) << good;
  }
  for (const char* bad : {"", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.1/8", "::/129",
                          "fd00::1/8", "example.test", "10.0.0.0/8x", "/8"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Network::Parse(bad).status())) << bad;
  }
}

}  // namespace
}  // namespace postern::relay
