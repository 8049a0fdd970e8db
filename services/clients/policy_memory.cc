#include "services/clients/policy_memory.h"

#include <algorithm>
#include <cstdint>

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

struct PolicyMemory::Connections {
  absl::Mutex mutex;
  relay::v1::CheckConnectionResponse answer ABSL_GUARDED_BY(mutex);
  SteadyTime until ABSL_GUARDED_BY(mutex);
  // On this answer.
  int64_t connections ABSL_GUARDED_BY(mutex) = 0;
  int64_t messages ABSL_GUARDED_BY(mutex) = 0;
};

PolicyMemory::PolicyMemory() : connections_(kMaxNetworks), recipients_(kMaxRecipients) {}
PolicyMemory::~PolicyMemory() = default;

std::optional<relay::v1::CheckConnectionResponse> PolicyMemory::FindConnection(
    absl::string_view network, relay::v1::CheckConnectionRequest* request, SteadyTime now) {
  const std::shared_ptr<Connections> known = connections_.Find(network, now);
  if (known == nullptr) return std::nullopt;
  const bool message = request->event() == relay::v1::CheckConnectionRequest::EVENT_MESSAGE;
  absl::MutexLock lock(&known->mutex);
  const relay::v1::CheckConnectionResponse& answer = known->answer;
  if (now < known->until) {
    if (answer.refusal() != relay::v1::REFUSAL_UNSPECIFIED) return answer;
    const bool limited = message ? answer.has_messages_left() : answer.has_connections_left();
    const int64_t left = message ? answer.messages_left() : answer.connections_left();
    int64_t& count = message ? known->messages : known->connections;
    if (!limited || count < left) {
      ++count;
      return answer;
    }
  }
  request->set_connections(std::exchange(known->connections, 0));
  request->set_messages(std::exchange(known->messages, 0));
  return std::nullopt;
}

void PolicyMemory::KeepConnection(absl::string_view network,
                                  const relay::v1::CheckConnectionResponse& response,
                                  SteadyTime now) {
  if (network.empty() || response.ttl_seconds() <= 0) return;
  const bool refused = response.refusal() != relay::v1::REFUSAL_UNSPECIFIED;
  const SteadyTime until = Until(now, response.ttl_seconds(), refused ? kLongestRefusal : kLongest);
  // One that is there may have counted while this answer was on its way.
  std::shared_ptr<Connections> known = connections_.Find(network, now);
  if (known == nullptr) known = std::make_shared<Connections>();
  {
    absl::MutexLock lock(&known->mutex);
    known->answer = response;
    known->until = until;
  }
  // Longer than the answer holds: what was counted on it is told the next time that it is asked.
  connections_.Keep(network, std::move(known), now + kLongest);
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
  recipients_.Keep(recipient, std::make_shared<const relay::v1::CheckRecipientResponse>(response),
                   Until(now, response.ttl_seconds(), kLongest));
}

}  // namespace postern::clients
