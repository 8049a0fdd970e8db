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
      {"::ffff:0:127.0.0.1", true},
      {"::ffff:0:8.8.8.8", false},
      {"2001:0:7f00:1::1", true},
      {"2001:200::1", false},
      {"192.88.99.1", true},
      {"100::1", true},
      {"100:0:0:1::1", false},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(InnerKind(At(c.address), {}) != nullptr, c.inner) << c.address;
    EXPECT_EQ(MayDeliverTo(At(c.address), {}), !c.inner) << c.address;
  }
}

TEST(InnerAddresses, WhatIsAllowedByName) {
  const OwnNetworks allowed = {.allowed = {*Network::Parse("10.1.0.0/16"),
                                           *Network::Parse("fd00::/8"),
                                           *Network::Parse("127.0.0.7")}};
  EXPECT_TRUE(MayDeliverTo(At("10.1.2.3"), allowed));
  EXPECT_TRUE(MayDeliverTo(At("::ffff:10.1.2.3"), allowed));
  EXPECT_FALSE(MayDeliverTo(At("10.2.0.1"), allowed));
  EXPECT_TRUE(MayDeliverTo(At("fd00::1"), allowed));
  EXPECT_TRUE(MayDeliverTo(At("127.0.0.7"), allowed));
  EXPECT_FALSE(MayDeliverTo(At("127.0.0.8"), allowed));
}

TEST(InnerAddresses, OurOwn) {
  const OwnNetworks networks = {
      .allowed = {*Network::Parse("203.0.113.0/24")},
      .own = {*Network::Parse("203.0.113.25"), *Network::Parse("2001:db8:25::/64")}};
  EXPECT_FALSE(MayDeliverTo(At("203.0.113.25"), networks));
  EXPECT_STREQ(InnerKind(At("203.0.113.25"), networks), "our own");
  EXPECT_FALSE(MayDeliverTo(At("64:ff9b::203.0.113.25"), networks));
  EXPECT_FALSE(MayDeliverTo(At("2001:db8:25::1"), networks));
  EXPECT_TRUE(MayDeliverTo(At("203.0.113.26"), networks));
}

// The examples of RFC 6052 2.4, of an address that is inner.
TEST(InnerAddresses, ANat64OfOurOwn) {
  const struct {
    const char* prefix;
    const char* inner;
    const char* outer;
  } cases[] = {
      {"2001:db8::/32", "2001:db8:a00:1::", "2001:db8:808:808::"},
      {"2001:db8:100::/40", "2001:db8:10a:0:1::", "2001:db8:108:808:8::"},
      {"2001:db8:122::/48", "2001:db8:122:a00:0:100::", "2001:db8:122:808:8:800::"},
      {"2001:db8:122:300::/56", "2001:db8:122:30a:0:1::", "2001:db8:122:308:8:808::"},
      {"2001:db8:122:344::/64", "2001:db8:122:344:a:0:100:0", "2001:db8:122:344:8:808:800:0"},
      {"2001:db8:122:344::/96", "2001:db8:122:344::10.0.0.1", "2001:db8:122:344::8.8.8.8"},
  };
  for (const auto& c : cases) {
    const OwnNetworks networks = {.nat64 = {*Network::ParseNat64(c.prefix)}};
    EXPECT_FALSE(MayDeliverTo(At(c.inner), networks)) << c.prefix;
    EXPECT_TRUE(MayDeliverTo(At(c.inner), {})) << c.prefix;
    EXPECT_TRUE(MayDeliverTo(At(c.outer), networks)) << c.prefix;
  }
  for (const char* bad : {"10.0.0.0/32", "2001:db8::/33", "2001:db8::/128", "x"}) {
    EXPECT_FALSE(Network::ParseNat64(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace postern::relay
