#include "relay-svc/smtp/inner_addresses.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

namespace postern::relay {
namespace {

namespace ip = boost::asio::ip;

// The first `prefix` bits are the same.
template <typename Octets>
bool SamePrefix(const Octets& a, const Octets& b, int prefix) {
  const int whole = prefix / 8;
  if (std::memcmp(a.data(), b.data(), whole) != 0) return false;
  const int rest = prefix % 8;
  return rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0;
}

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

absl::StatusOr<Network> Network::Parse(absl::string_view text) {
  const absl::Status invalid = absl::InvalidArgumentError(absl::StrCat(
      "\"", text, "\": expected a network, \"10.1.0.0/16\" or \"fd00::/8\", or an address"));
  const size_t slash = text.find('/');
  boost::system::error_code error;
  Network network;
  network.base_ = ip::make_address(std::string(text.substr(0, slash)), error);
  if (error) return invalid;
  const int most = network.base_.is_v4() ? 32 : 128;
  network.prefix_ = most;
  if (slash != absl::string_view::npos &&
      (!absl::SimpleAtoi(text.substr(slash + 1), &network.prefix_) || network.prefix_ < 0 ||
       network.prefix_ > most)) {
    return invalid;
  }
  const auto has_more = [&](auto octets) {
    for (int bit = network.prefix_; bit < most; ++bit) {
      if ((octets[bit / 8] >> (7 - bit % 8) & 1) != 0) return true;
    }
    return false;
  };
  if (network.base_.is_v4() ? has_more(network.base_.to_v4().to_bytes())
                            : has_more(network.base_.to_v6().to_bytes())) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\": the address has bits behind the prefix"));
  }
  return network;
}

bool Network::Contains(const ip::address& address) const {
  if (address.is_v4() != base_.is_v4()) return false;
  return address.is_v4()
             ? SamePrefix(address.to_v4().to_bytes(), base_.to_v4().to_bytes(), prefix_)
             : SamePrefix(address.to_v6().to_bytes(), base_.to_v6().to_bytes(), prefix_);
}

absl::StatusOr<Network> Network::ParseNat64(absl::string_view text) {
  absl::StatusOr<Network> network = Parse(text);
  if (!network.ok()) return network;
  constexpr int kPrefixes[] = {32, 40, 48, 56, 64, 96};
  if (network->base_.is_v4() ||
      std::count(std::begin(kPrefixes), std::end(kPrefixes), network->prefix_) == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", text, "\": expected an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits (RFC 6052 2.2)"));
  }
  return network;
}

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
