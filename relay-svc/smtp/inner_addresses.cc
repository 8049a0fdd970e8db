#include "relay-svc/smtp/inner_addresses.h"

#include <algorithm>
#include <array>
#include <optional>

#include "absl/types/span.h"

namespace postern::relay {
namespace {

namespace ip = boost::asio::ip;

struct Kind {
  const char* network;
  const char* name;
};

// RFC 6890 and its registries: what is not globally reachable and could be somebody's here.
constexpr Kind kInner[] = {
    {"0.0.0.0/8", "this host"},
    {"10.0.0.0/8", "private"},
    {"100.64.0.0/10", "shared (carrier-grade NAT)"},
    {"127.0.0.0/8", "loopback"},
    {"169.254.0.0/16", "link-local"},
    {"172.16.0.0/12", "private"},
    {"192.0.0.0/24", "protocol assignments"},
    {"192.88.99.0/24", "6to4 relay"},
    {"192.168.0.0/16", "private"},
    {"198.18.0.0/15", "benchmarking"},
    {"224.0.0.0/4", "multicast"},
    {"240.0.0.0/4", "reserved"},
    {"::/128", "unspecified"},
    {"::1/128", "loopback"},
    {"64:ff9b:1::/48", "local NAT64"},
    {"100::/64", "discard"},
    {"2001::/32", "Teredo"},
    {"fc00::/7", "unique local"},
    {"fe80::/10", "link-local"},
    {"fec0::/10", "site-local"},
    {"ff00::/8", "multicast"},
};

struct InnerNetwork {
  Network network;
  const char* name;
};

const std::vector<InnerNetwork>& InnerNetworks() {
  static const auto& all = *[] {
    auto* made = new std::vector<InnerNetwork>();
    for (const Kind& kind : kInner) made->push_back({*Network::Parse(kind.network), kind.name});
    return made;
  }();
  return all;
}

// The four octets from `at` on, less octet 8, which RFC 6052 2.2 keeps free.
ip::address_v4 V4At(const ip::address_v6::bytes_type& octets, size_t at) {
  ip::address_v4::bytes_type four;
  for (unsigned char& octet : four) {
    if (at == 8) ++at;
    octet = octets[at++];
  }
  return ip::address_v4(four);
}

struct Form {
  Network network;
  // Where the IPv4 address begins.
  size_t at;
};

const std::vector<Form>& Forms() {
  // IPv4-mapped and -compatible (RFC 4291 2.5.5), SIIT (RFC 2765 2.1), NAT64 (RFC 6052 2.1),
  // 6to4 (RFC 3056).
  static const auto& all = *new std::vector<Form>{{*Network::Parse("::ffff:0:0/96"), 12},
                                                  {*Network::Parse("::/96"), 12},
                                                  {*Network::Parse("::ffff:0:0:0/96"), 12},
                                                  {*Network::Parse("64:ff9b::/96"), 12},
                                                  {*Network::Parse("2002::/16"), 2}};
  return all;
}

// The IPv4 address that an IPv6 one stands for.
std::optional<ip::address_v4> EmbeddedV4(const ip::address& address,
                                         absl::Span<const Network> nat64) {
  if (!address.is_v6()) return std::nullopt;
  const ip::address_v6::bytes_type octets = address.to_v6().to_bytes();
  for (const Form& form : Forms()) {
    if (form.network.Contains(address)) return V4At(octets, form.at);
  }
  for (const Network& network : nat64) {
    if (network.Contains(address)) return V4At(octets, network.prefix() / 8);
  }
  return std::nullopt;
}

bool Contain(absl::Span<const Network> networks, const ip::address& address,
             const std::optional<ip::address_v4>& embedded) {
  return std::any_of(networks.begin(), networks.end(), [&](const Network& network) {
    return network.Contains(address) || (embedded.has_value() && network.Contains(*embedded));
  });
}

const char* KindOf(const ip::address& address) {
  for (const InnerNetwork& inner : InnerNetworks()) {
    if (inner.network.Contains(address)) return inner.name;
  }
  return nullptr;
}

const char* KindOf(const ip::address& address, const std::optional<ip::address_v4>& embedded) {
  const char* const kind = KindOf(address);
  return kind == nullptr && embedded.has_value() ? KindOf(*embedded) : kind;
}

}  // namespace

const char* InnerKind(const ip::address& address, const OwnNetworks& networks) {
  const std::optional<ip::address_v4> embedded = EmbeddedV4(address, networks.nat64);
  if (Contain(networks.own, address, embedded)) return "our own";
  return KindOf(address, embedded);
}

bool MayDeliverTo(const ip::address& address, const OwnNetworks& networks) {
  const std::optional<ip::address_v4> embedded = EmbeddedV4(address, networks.nat64);
  if (Contain(networks.own, address, embedded)) return false;
  return KindOf(address, embedded) == nullptr || Contain(networks.allowed, address, embedded);
}

}  // namespace postern::relay
