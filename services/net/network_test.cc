#include "services/net/network.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace postern::net {
namespace {

TEST(NetworkTest, Networks) {
  for (const char* good : {"10.0.0.0/8", "0.0.0.0/0", "::/0", "192.0.2.1", "192.0.2.1/32", "::1"}) {
    EXPECT_TRUE(Network::Parse(good).ok()) << good;
  }
  for (const char* bad : {"", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.1/8", "::/129",
                          "fd00::1/8", "example.test", "10.0.0.0/8x", "/8"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Network::Parse(bad).status())) << bad;
  }
}

}  // namespace
}  // namespace postern::net
