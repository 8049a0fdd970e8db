#include "services/net/client_network.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace postern::net {
namespace {

std::string Text(int family, const void* address, int bits) {
  char text[INET6_ADDRSTRLEN];
  // Only a buffer that is too small fails.
  return inet_ntop(family, address, text, sizeof(text)) == nullptr ? ""
                                                                   : absl::StrCat(text, "/", bits);
}

std::string V4Network(const unsigned char* octets) {
  const unsigned char network[4] = {octets[0], octets[1], octets[2], 0};
  return Text(AF_INET, network, 24);
}

}  // namespace

std::string NetworkOf(absl::string_view client) {
  // A link-local address has its interface behind it.
  const std::string address(client.substr(0, client.find('%')));
  in_addr v4;
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) {
    return V4Network(reinterpret_cast<const unsigned char*>(&v4));
  }
  in6_addr v6;
  if (inet_pton(AF_INET6, address.c_str(), &v6) != 1) return "";
  if (IN6_IS_ADDR_V4MAPPED(&v6)) return V4Network(v6.s6_addr + 12);
  std::fill(v6.s6_addr + 8, v6.s6_addr + 16, 0);
  return Text(AF_INET6, &v6, 64);
}

}  // namespace postern::net
