#include "services/protocol/proxy/proxy_header.h"

#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace postern::proxy {
namespace {

std::string Show(absl::string_view input) {
  const auto result = ParseHeader(input);
  if (std::holds_alternative<Incomplete>(result)) return "incomplete";
  if (const auto* bad = std::get_if<Malformed>(&result)) return std::string(bad->why);
  const Header& header = std::get<Header>(result);
  if (header.local) return absl::StrCat(header.octets, " local");
  return absl::StrCat(header.octets, " ", header.source.address, " ", header.source.port, " ",
                      header.destination.address, " ", header.destination.port);
}

std::string Version2(char command, char family, absl::string_view rest) {
  std::string octets("\r\n\r\n\0\r\nQUIT\n", 12);
  octets += command;
  octets += family;
  octets += static_cast<char>(rest.size() >> 8);
  octets += static_cast<char>(rest.size());
  return octets + std::string(rest);
}

const std::string kIpv4("\xc0\x00\x02\x01\xc6\x33\x64\x02\x30\x39\x00\x19", 12);
const std::string kIpv6 = std::string("\x20\x01\x0d\xb8", 4) + std::string(11, '\0') + "\x01" +
                          std::string(10, '\0') + "\xff\xff\x7f" + std::string(2, '\0') + "\x01" +
                          std::string("\xff\xff\x00\x00", 4);

TEST(ProxyHeaderTest, Parses) {
  const std::pair<std::string, std::string> kCases[] = {
      {"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\nEHLO", "44 192.0.2.1 12345 198.51.100.2 25"},
      {"PROXY TCP6 2001:db8::1 ::ffff:127.0.0.1 65535 0\r\n", "49 2001:db8::1 65535 127.0.0.1 0"},
      {"PROXY UNKNOWN\r\n", "15 local"},
      {"PROXY UNKNOWN ffff:f...f:ffff whatever 1 2\r\n", "44 local"},
      {Version2('\x21', '\x11', kIpv4), "28 192.0.2.1 12345 198.51.100.2 25"},
      {Version2('\x21', '\x12', kIpv4) + "x", "28 192.0.2.1 12345 198.51.100.2 25"},
      {Version2('\x21', '\x21', kIpv6), "52 2001:db8::1 65535 127.0.0.1 0"},
      // TLVs are skipped.
      {Version2('\x21', '\x11', kIpv4 + std::string(2000, 'x')),
       "2028 192.0.2.1 12345 198.51.100.2 25"},
      {Version2('\x20', '\x00', ""), "16 local"},
      {Version2('\x20', '\x11', kIpv4), "28 local"},
      {Version2('\x21', '\x00', "xyz"), "19 local"},
      {Version2('\x21', '\x31', std::string(216, 'x')), "232 local"},
  };
  for (const auto& [input, expected] : kCases) {
    EXPECT_EQ(Show(input), expected);
    const size_t octets = std::get<Header>(ParseHeader(input)).octets;
    for (size_t size = 0; size < octets; ++size) {
      EXPECT_EQ(Show(input.substr(0, size)), "incomplete") << expected << " cut at " << size;
      const auto cut = ParseHeader(input.substr(0, size));
      const size_t more = std::get<Incomplete>(cut).more;
      EXPECT_GT(more, 0u);
      EXPECT_LE(size + more, octets) << "an octet of the client's: " << expected << " " << size;
    }
  }
}

TEST(ProxyHeaderTest, Refuses) {
  const std::pair<std::string, std::string> kCases[] = {
      {"EHLO x\r\n", "no PROXY header"},
      {"P_", "no PROXY header"},
      {"proxy TCP4", "no PROXY header"},
      {"\x16\x03\x01", "no PROXY header"},
      {"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\rx", "version 1: CR without LF"},
      {"PROXY TCP5 192.0.2.1 198.51.100.2 12345 25\r\n", "version 1: not TCP4, TCP6 or UNKNOWN"},
      {"PROXY TCP4  192.0.2.1 198.51.100.2 12345 25\r\n", "version 1: not TCP4, TCP6 or UNKNOWN"},
      {"PROXY TCP4 192.0.2.1 198.51.100.2 12345\r\n", "version 1: not TCP4, TCP6 or UNKNOWN"},
      {"PROXY TCP4 192.0.2.256 198.51.100.2 12345 25\r\n", "version 1: bad address"},
      {std::string("PROXY TCP4 192.0.2.1\0 198.51.100.2 12345 25\r\n", 45),
       "version 1: bad address"},
      {"PROXY TCP4 2001:db8::1 198.51.100.2 12345 25\r\n", "version 1: bad address"},
      {"PROXY TCP4 192.0.2.1 198.51.100.2 65536 25\r\n", "version 1: bad port"},
      {"PROXY TCP4 192.0.2.1 198.51.100.2 012 25\r\n", "version 1: bad port"},
      {"PROXY TCP4 192.0.2.1 198.51.100.2 -1 25\r\n", "version 1: bad port"},
      {"PROXY UNKNOWN " + std::string(93, 'x'), "version 1: no end of line"},
      {Version2('\x11', '\x11', kIpv4), "version 2: unknown command"},
      {Version2('\x22', '\x11', kIpv4), "version 2: unknown command"},
      {Version2('\x21', '\x41', kIpv4), "version 2: unknown address family"},
      {Version2('\x21', '\x11', kIpv4.substr(1)), "version 2: addresses cut short"},
      {Version2('\x21', '\x21', kIpv4), "version 2: addresses cut short"},
      {Version2('\x21', '\x11', std::string(3000, 'x')).substr(0, 16), "version 2: too long"},
  };
  for (const auto& [input, expected] : kCases) EXPECT_EQ(Show(input), expected) << input;
}

}  // namespace
}  // namespace postern::proxy
