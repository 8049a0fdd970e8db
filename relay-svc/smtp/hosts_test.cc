#include "relay-svc/smtp/hosts.h"

#include <gtest/gtest.h>

namespace postern::relay {
namespace {

using Admission = Hosts::Admission;
using std::chrono::seconds;

const Hosts::Address kHost = boost::asio::ip::make_address("192.0.2.1");
const Hosts::Address kOther = boost::asio::ip::make_address("192.0.2.2");
const Hosts::Time kStart = Hosts::Time(seconds(1000));

TEST(Hosts, SessionsAreCountedByHost) {
  Hosts hosts({.sessions_per_host = 2});
  EXPECT_EQ(hosts.Enter(kHost, kStart), Admission::kYes);
  EXPECT_EQ(hosts.Enter(kHost, kStart), Admission::kYes);
  EXPECT_EQ(hosts.Enter(kHost, kStart), Admission::kBusy);
  EXPECT_EQ(hosts.Enter(kOther, kStart), Admission::kYes);
  hosts.Leave(kHost, /*silent=*/false, kStart);
  EXPECT_EQ(hosts.Enter(kHost, kStart), Admission::kYes);
}

TEST(Hosts, ASilentOneIsLeftAloneAndThenProbedByOne) {
  Hosts hosts({.silence = seconds(300)});
  ASSERT_EQ(hosts.Enter(kHost, kStart), Admission::kYes);
  hosts.Leave(kHost, /*silent=*/true, kStart);
  EXPECT_EQ(hosts.Enter(kHost, kStart + seconds(299)), Admission::kSilent);
  EXPECT_EQ(hosts.Enter(kOther, kStart), Admission::kYes);
  ASSERT_EQ(hosts.Enter(kHost, kStart + seconds(300)), Admission::kYes);
  EXPECT_EQ(hosts.Enter(kHost, kStart + seconds(301)), Admission::kSilent);
  hosts.Leave(kHost, /*silent=*/true, kStart + seconds(330));
  EXPECT_EQ(hosts.Enter(kHost, kStart + seconds(600)), Admission::kSilent);
  ASSERT_EQ(hosts.Enter(kHost, kStart + seconds(630)), Admission::kYes);
  hosts.Leave(kHost, /*silent=*/false, kStart + seconds(631));
  EXPECT_EQ(hosts.Enter(kHost, kStart + seconds(632)), Admission::kYes);
  EXPECT_EQ(hosts.Enter(kHost, kStart + seconds(632)), Admission::kYes);
}

TEST(Hosts, BrokenTlsIsRememberedForAWhile) {
  Hosts hosts({.broken_tls = seconds(3600)});
  EXPECT_FALSE(hosts.HasBrokenTls(kHost, kStart));
  hosts.NoteBrokenTls(kHost, kStart);
  EXPECT_TRUE(hosts.HasBrokenTls(kHost, kStart + seconds(3599)));
  EXPECT_FALSE(hosts.HasBrokenTls(kHost, kStart + seconds(3600)));
}

TEST(Hosts, MemoryIsBounded) {
  Hosts hosts({.most = 100});
  for (int i = 0; i < 1000; ++i) {
    const Hosts::Address address = boost::asio::ip::address_v4(static_cast<unsigned>(i + 1));
    ASSERT_EQ(hosts.Enter(address, kStart), Admission::kYes) << i;
    hosts.Leave(address, /*silent=*/true, kStart);
  }
}

}  // namespace
}  // namespace postern::relay
