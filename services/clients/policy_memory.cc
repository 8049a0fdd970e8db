#include "services/clients/policy_memory.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

namespace postern::clients {

namespace {

constexpr size_t kMaxNetworks = 16384;
constexpr size_t kMaxRecipients = 16384;
// An answer or an address that is larger is asked for each time: with the counts above it bounds
// the memory (40 MiB at the very worst, a tenth of that in practice).
constexpr size_t kMaxAnswerOctets = 2048;
constexpr size_t kMaxAddressOctets = 512;
// Whatever the service says.
constexpr std::chrono::seconds kLongest{300};
constexpr std::chrono::seconds kLongestRefusal{1};

SteadyTime Until(SteadyTime now, int32_t ttl_seconds, std::chrono::seconds longest) {
  return now + std::min(std::chrono::seconds(ttl_seconds), longest);
}

}  // namespace

std::string NetworkOf(absl::string_view address) {
  if (address.size() > INET6_ADDRSTRLEN) return "";
  const std::string text(address);
  in_addr v4;
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) {
    return std::string(reinterpret_cast<const char*>(&v4), 3);
  }
  in6_addr v6;
  if (inet_pton(AF_INET6, text.c_str(), &v6) != 1) return "";
  const char* octets = reinterpret_cast<const char*>(&v6);
  if (IN6_IS_ADDR_V4MAPPED(&v6)) return std::string(octets + 12, 3);
  return std::string(octets, 8);
}

PolicyMemory::PolicyMemory() : connections_(kMaxNetworks), recipients_(kMaxRecipients) {}

std::shared_ptr<const relay::v1::CheckConnectionResponse> PolicyMemory::FindConnection(
    absl::string_view network, SteadyTime now) const {
  return connections_.Find(network, now);
}

void PolicyMemory::KeepConnection(absl::string_view network,
                                  const relay::v1::CheckConnectionResponse& response,
                                  SteadyTime now) {
  if (network.empty() || response.ttl_seconds() <= 0) return;
  const bool refused = response.refusal() != relay::v1::REFUSAL_UNSPECIFIED;
  connections_.Keep(network, std::make_shared<relay::v1::CheckConnectionResponse>(response),
                    Until(now, response.ttl_seconds(), refused ? kLongestRefusal : kLongest));
}

std::shared_ptr<const relay::v1::CheckRecipientResponse> PolicyMemory::FindRecipient(
    absl::string_view recipient, SteadyTime now) const {
  return recipients_.Find(recipient, now);
}

void PolicyMemory::KeepRecipient(absl::string_view recipient,
                                 const relay::v1::CheckRecipientResponse& response,
                                 SteadyTime now) {
  if (response.ttl_seconds() <= 0 || response.refusal() != relay::v1::REFUSAL_UNSPECIFIED) return;
  if (recipient.size() > kMaxAddressOctets || response.ByteSizeLong() > kMaxAnswerOctets) return;
  recipients_.Keep(recipient, std::make_shared<relay::v1::CheckRecipientResponse>(response),
                   Until(now, response.ttl_seconds(), kLongest));
}

}  // namespace postern::clients
