#include "relay-svc/dns/unbound_resolver.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/async/wait.h"

namespace postern::relay {
namespace {

constexpr uint16_t kA = 1, kCname = 5, kMx = 15, kAaaa = 28;

std::string Number(uint16_t n) { return {static_cast<char>(n >> 8), static_cast<char>(n & 0xff)}; }

std::string Name(const std::string& name) {
  std::string wire;
  for (absl::string_view label : absl::StrSplit(name, '.', absl::SkipEmpty())) {
    wire += static_cast<char>(label.size());
    absl::StrAppend(&wire, label);
  }
  return wire + '\0';
}

std::string Address(int family, const char* text) {
  char octets[16];
  EXPECT_EQ(inet_pton(family, text, octets), 1);
  return std::string(octets, family == AF_INET ? 4 : 16);
}

std::string Mx(uint16_t preference, const std::string& host) {
  return Number(preference) + Name(host);
}

// A name server on loopback with a table (RFC 1035 4): NXDOMAIN for what it doesn't know.
class NameServer {
 public:
  struct Entry {
    int rcode = 0;
    // Type and data.
    std::vector<std::pair<uint16_t, std::string>> records;
  };

  explicit NameServer(std::map<std::string, Entry> names) : names_(std::move(names)) {
    fd_ = socket(AF_INET, SOCK_DGRAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~NameServer() {
    stopping_ = true;
    sockaddr_in self = {};
    self.sin_family = AF_INET;
    self.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    self.sin_port = htons(port_);
    sendto(fd_, "", 0, 0, reinterpret_cast<sockaddr*>(&self), sizeof(self));
    thread_.join();
    close(fd_);
  }
  std::string address() const { return absl::StrCat("127.0.0.1@", port_); }

 private:
  void Serve() {
    char buffer[4096];
    sockaddr_in peer;
    while (true) {
      socklen_t size = sizeof(peer);
      const ssize_t n =
          recvfrom(fd_, buffer, sizeof(buffer), 0, reinterpret_cast<sockaddr*>(&peer), &size);
      if (stopping_) return;
      if (n < 17) continue;
      const std::string reply = Reply(std::string(buffer, static_cast<size_t>(n)));
      sendto(fd_, reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&peer), size);
    }
  }

  std::string Reply(const std::string& query) {
    std::string name;
    size_t at = 12;
    while (query[at] != '\0') {
      const size_t length = static_cast<unsigned char>(query[at]);
      absl::StrAppend(&name, name.empty() ? "" : ".", query.substr(at + 1, length));
      at += length + 1;
    }
    const size_t question_end = at + 5;
    const uint16_t type = static_cast<uint16_t>(static_cast<unsigned char>(query[at + 1]) << 8 |
                                                static_cast<unsigned char>(query[at + 2]));
    const auto found = names_.find(absl::AsciiStrToLower(name));
    const int rcode = found == names_.end() ? 3 : found->second.rcode;
    std::string answers;
    uint16_t count = 0;
    if (rcode == 0) {
      for (const auto& [record_type, data] : found->second.records) {
        if (record_type != type && record_type != kCname) continue;
        ++count;
        answers += Number(0xc00c) + Number(record_type) + Number(1) + Number(0) + Number(60) +
                   Number(static_cast<uint16_t>(data.size())) + data;
      }
    }
    return query.substr(0, 2) + Number(static_cast<uint16_t>(0x8180 | rcode)) + Number(1) +
           Number(count) + Number(0) + Number(0) + query.substr(12, question_end - 12) + answers;
  }

  const std::map<std::string, Entry> names_;
  int fd_ = -1;
  int port_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

class UnboundResolverTest : public testing::Test {
 protected:
  UnboundResolverTest()
      : server_({
            {"remote.test", {0, {{kMx, Mx(20, "b.remote.test")}, {kMx, Mx(10, "a.remote.test")}}}},
            {"remote.example", {0, {{kMx, Mx(10, "mx.remote.example")}}}},
            {"null.test", {0, {{kMx, Mx(0, "")}}}},
            {"a.remote.test",
             {0, {{kA, Address(AF_INET, "192.0.2.1")}, {kAaaa, Address(AF_INET6, "2001:db8::1")}}}},
            {"four.test", {0, {{kA, Address(AF_INET, "192.0.2.4")}}}},
            {"alias.test", {0, {{kCname, Name("four.test")}}}},
            {"empty.test", {0, {}}},
            {"broken.test", {2, {}}},
        }) {
    absl::StatusOr<std::unique_ptr<Resolver>> resolver = OpenUnboundResolver({server_.address()});
    EXPECT_TRUE(resolver.ok()) << resolver.status();
    resolver_ = *std::move(resolver);
  }

  absl::StatusOr<std::vector<MxRecord>> LookUpMx(const std::string& domain) {
    return async::Wait<absl::StatusOr<std::vector<MxRecord>>>(
        [&](auto done) { resolver_->LookUpMx(domain, std::move(done)); });
  }
  absl::StatusOr<std::string> LookUpAddresses(const std::string& host) {
    absl::StatusOr<std::vector<boost::asio::ip::address>> addresses =
        async::Wait<absl::StatusOr<std::vector<boost::asio::ip::address>>>(
            [&](auto done) { resolver_->LookUpAddresses(host, std::move(done)); });
    if (!addresses.ok()) return addresses.status();
    std::string text;
    for (const auto& address : *addresses) absl::StrAppend(&text, address.to_string(), " ");
    return text;
  }

  NameServer server_;
  std::unique_ptr<Resolver> resolver_;
};

TEST_F(UnboundResolverTest, Mx) {
  // "test." too, of which libunbound would say by itself that it does not exist.
  for (const char* domain : {"remote.test", "REMOTE.test"}) {
    const absl::StatusOr<std::vector<MxRecord>> records = LookUpMx(domain);
    ASSERT_TRUE(records.ok()) << records.status();
    std::map<int, std::string> by_preference;
    for (const MxRecord& record : *records) by_preference[record.preference] = record.host;
    EXPECT_EQ(by_preference,
              (std::map<int, std::string>{{10, "a.remote.test"}, {20, "b.remote.test"}}));
  }
  EXPECT_EQ(LookUpMx("remote.example")->size(), 1u);
  const absl::StatusOr<std::vector<MxRecord>> null = LookUpMx("null.test");
  ASSERT_TRUE(null.ok() && null->size() == 1) << null.status();
  EXPECT_EQ((*null)[0].host, "");
  EXPECT_TRUE(LookUpMx("empty.test")->empty());
  EXPECT_TRUE(LookUpMx("four.test")->empty());
  EXPECT_TRUE(absl::IsNotFound(LookUpMx("nowhere.test").status()));
  EXPECT_TRUE(absl::IsUnavailable(LookUpMx("broken.test").status()));
}

TEST_F(UnboundResolverTest, Addresses) {
  EXPECT_EQ(LookUpAddresses("a.remote.test").value_or(""), "2001:db8::1 192.0.2.1 ");
  EXPECT_EQ(LookUpAddresses("four.test").value_or(""), "192.0.2.4 ");
  EXPECT_EQ(LookUpAddresses("alias.test").value_or(""), "192.0.2.4 ");
  EXPECT_EQ(LookUpAddresses("empty.test").value_or("x"), "");
  EXPECT_TRUE(absl::IsNotFound(LookUpAddresses("nowhere.test").status()));
  EXPECT_TRUE(absl::IsUnavailable(LookUpAddresses("broken.test").status()));
}

TEST_F(UnboundResolverTest, NamesThatAreNone) {
  for (const std::string& name : {std::string(300, 'x'), std::string(), std::string("a..b")}) {
    EXPECT_FALSE(LookUpMx(name).ok() && !LookUpMx(name)->empty()) << name;
  }
}

TEST_F(UnboundResolverTest, ManyAtOnceAndTheEnd) {
  std::atomic<int> answered = 0;
  constexpr int kLookups = 200;
  for (int i = 0; i < kLookups; ++i) {
    resolver_->LookUpMx(absl::StrCat("n", i, ".test"),
                        [&](absl::StatusOr<std::vector<MxRecord>>) { ++answered; });
  }
  // Every look-up is answered, at the latest by the end.
  resolver_.reset();
  EXPECT_EQ(answered, kLookups);
}

TEST(UnboundResolverConfigTest, ABadNameServerIsNamed) {
  const absl::Status status = OpenUnboundResolver({"not an address"}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
}

}  // namespace
}  // namespace postern::relay
