#include "services/protocol/proxy/proxy_header.h"

#include <arpa/inet.h>

#include <cstring>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace postern::proxy {
namespace {

constexpr absl::string_view kSignature1 = "PROXY ";
constexpr absl::string_view kSignature2("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr size_t kMaxVersion1 = 107;
constexpr size_t kFixedVersion2 = 16;
// "PROXY UNKNOWN\r\n".
constexpr size_t kMinVersion1 = 15;

using Result = std::variant<Header, Incomplete, Malformed>;

uint16_t Load16(absl::string_view octets, size_t at) {
  return static_cast<uint16_t>(static_cast<unsigned char>(octets[at]) << 8 |
                               static_cast<unsigned char>(octets[at + 1]));
}

// The address of `family` whose octets stand at `octets`.
std::string ToText(int family, const char* octets) {
  constexpr char kMapped[] = "\0\0\0\0\0\0\0\0\0\0\xff\xff";
  if (family == AF_INET6 && memcmp(octets, kMapped, 12) == 0) {
    family = AF_INET;
    octets += 12;
  }
  char text[INET6_ADDRSTRLEN];
  return inet_ntop(family, octets, text, sizeof text) == nullptr ? "" : text;
}

bool ParseAddress(int family, absl::string_view word, Endpoint& endpoint) {
  char octets[sizeof(in6_addr)];
  if (word.find('\0') != absl::string_view::npos) return false;
  if (inet_pton(family, std::string(word).c_str(), octets) != 1) return false;
  endpoint.address = ToText(family, octets);
  return true;
}

// Section 2.1: decimal, 0 to 65535, no leading zero.
bool ParsePort(absl::string_view word, Endpoint& endpoint) {
  if (word.empty() || word.size() > 5 || (word.size() > 1 && word[0] == '0')) return false;
  int port = 0;
  for (const char c : word) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return false;
    port = port * 10 + (c - '0');
  }
  endpoint.port = static_cast<uint16_t>(port);
  return port <= 65535;
}

// Of a header of version 1 or, as far as the input goes, either version.
Incomplete MoreThan(absl::string_view input) {
  return {input.size() < kMinVersion1 ? kMinVersion1 - input.size() : 1};
}

// Section 2.1: "PROXY TCP4 source destination source-port destination-port\r\n".
Result ParseVersion1(absl::string_view input) {
  const size_t cr = input.substr(0, kMaxVersion1).find('\r');
  if (cr == absl::string_view::npos) {
    if (input.size() >= kMaxVersion1) return Malformed{"version 1: no end of line"};
    return MoreThan(input);
  }
  if (cr + 2 > kMaxVersion1) return Malformed{"version 1: no end of line"};
  if (cr + 1 == input.size()) return Incomplete{1};
  if (input[cr + 1] != '\n') return Malformed{"version 1: CR without LF"};
  Header header;
  header.octets = cr + 2;
  const absl::string_view line = input.substr(kSignature1.size(), cr - kSignature1.size());
  const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
  if (words[0] == "UNKNOWN") {  // What follows is to be ignored.
    header.local = true;
    return header;
  }
  if (words.size() != 5 || (words[0] != "TCP4" && words[0] != "TCP6")) {
    return Malformed{"version 1: not TCP4, TCP6 or UNKNOWN"};
  }
  const int family = words[0] == "TCP4" ? AF_INET : AF_INET6;
  if (!ParseAddress(family, words[1], header.source) ||
      !ParseAddress(family, words[2], header.destination)) {
    return Malformed{"version 1: bad address"};
  }
  if (!ParsePort(words[3], header.source) || !ParsePort(words[4], header.destination)) {
    return Malformed{"version 1: bad port"};
  }
  return header;
}

// Section 2.2.
Result ParseVersion2(absl::string_view input) {
  if (input.size() > 12) {
    const unsigned char version = static_cast<unsigned char>(input[12]);
    if (version != 0x20 && version != 0x21) return Malformed{"version 2: unknown command"};
  }
  if (input.size() < kFixedVersion2) return Incomplete{kFixedVersion2 - input.size()};
  const size_t length = Load16(input, 14);
  if (kFixedVersion2 + length > kMaxHeaderOctets) return Malformed{"version 2: too long"};
  Header header;
  header.octets = kFixedVersion2 + length;
  const unsigned char family = static_cast<unsigned char>(input[13]);
  // LOCAL: the family and the addresses are to be ignored. UNSPEC and UNIX sockets name no host.
  const bool no_host = input[12] == 0x20 || family == 0x00 || family == 0x31 || family == 0x32;
  // Octets of one address; 0: the connection's own count.
  size_t size = 0;
  if (!no_host) {
    if (family == 0x11 || family == 0x12) {
      size = 4;
    } else if (family == 0x21 || family == 0x22) {
      size = 16;
    } else {
      return Malformed{"version 2: unknown address family"};
    }
  }
  if (size > 0 && length < 2 * size + 4) return Malformed{"version 2: addresses cut short"};
  if (input.size() < header.octets) return Incomplete{header.octets - input.size()};
  header.local = size == 0;
  if (size > 0) {
    const absl::string_view addresses = input.substr(kFixedVersion2, length);
    const int af = size == 4 ? AF_INET : AF_INET6;
    header.source = {ToText(af, addresses.data()), Load16(addresses, 2 * size)};
    header.destination = {ToText(af, addresses.data() + size), Load16(addresses, 2 * size + 2)};
  }
  return header;
}

}  // namespace

std::variant<Header, Incomplete, Malformed> ParseHeader(absl::string_view input) {
  if (absl::StartsWith(input, kSignature1)) return ParseVersion1(input);
  if (absl::StartsWith(input, kSignature2)) return ParseVersion2(input);
  if (absl::StartsWith(kSignature1, input) || absl::StartsWith(kSignature2, input)) {
    return MoreThan(input);
  }
  return Malformed{"no PROXY header"};
}

bool HasSignature(absl::string_view input) {
  return absl::StartsWith(input, kSignature1) || absl::StartsWith(input, kSignature2);
}

}  // namespace postern::proxy
