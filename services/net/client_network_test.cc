#include "services/net/client_network.h"

#include "gtest/gtest.h"

namespace postern::net {
namespace {

TEST(NetworkOfTest, Addresses) {
  const struct {
    const char* client;
    const char* network;
  } kCases[] = {
      {"192.0.2.77", "192.0.2.0/24"},
      {"::ffff:192.0.2.77", "192.0.2.0/24"},
      {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
      {"2001:DB8:0:0:FFFF::1", "2001:db8::/64"},
      {"fe80::1%eth0", "fe80::/64"},
      {"::1", "::/64"},
      {"", ""},
      {"192.0.2", ""},
      {"192.0.2.1:25", ""},
      {"192.0.2.1\n", ""},
      {"[2001:db8::1]", ""},
      {"mail.example.test", ""},
      {"\"} 1", ""},
  };
  for (const auto& c : kCases) EXPECT_EQ(NetworkOf(c.client), c.network) << c.client;
}

}  // namespace
}  // namespace postern::net
