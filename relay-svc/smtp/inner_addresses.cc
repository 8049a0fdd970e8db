#include "relay-svc/smtp/inner_addresses.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

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
    {"192.168.0.0/16", "private"},
    {"198.18.0.0/15", "benchmarking"},
    {"224.0.0.0/4", "multicast"},
    {"240.0.0.0/4", "reserved"},
    {"::/128", "unspecified"},
    {"::1/128", "loopback"},
    {"64:ff9b:1::/48", "local NAT64"},
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

ip::address_v4 V4At(const ip::address_v6::bytes_type& octets, size_t at) {
  ip::address_v4::bytes_type four;
  std::copy_n(octets.begin() + static_cast<std::ptrdiff_t>(at), four.size(), four.begin());
  return ip::address_v4(four);
}

// The IPv4 address that an IPv6 one stands for.
std::optional<ip::address_v4> EmbeddedV4(const ip::address& address) {
  // IPv4-mapped and -compatible (RFC 4291 2.5.5), NAT64 (RFC 6052), 6to4 (RFC 3056).
  struct Form {
    const char* network;
    size_t at;
  };
  constexpr Form kForms[] = {
      {"::ffff:0:0/96", 12}, {"::/96", 12}, {"64:ff9b::/96", 12}, {"2002::/16", 2}};
  if (!address.is_v6()) return std::nullopt;
  for (const Form& form : kForms) {
    if (Network::Parse(form.network)->Contains(address)) {
      return V4At(address.to_v6().to_bytes(), form.at);
    }
  }
  return std::nullopt;
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

const char* InnerKind(const ip::address& address) {
  for (const InnerNetwork& inner : InnerNetworks()) {
    if (inner.network.Contains(address)) return inner.name;
  }
  const std::optional<ip::address_v4> embedded = EmbeddedV4(address);
  return embedded.has_value() ? InnerKind(*embedded) : nullptr;
}

bool MayDeliverTo(const ip::address& address, absl::Span<const Network> allowed) {
  if (InnerKind(address) == nullptr) return true;
  const std::optional<ip::address_v4> embedded = EmbeddedV4(address);
  return std::any_of(allowed.begin(), allowed.end(), [&](const Network& network) {
    return network.Contains(address) || (embedded.has_value() && network.Contains(*embedded));
  });
}

}  // namespace postern::relay
