#include "services/net/network.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace postern::net {
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

}  // namespace postern::net
