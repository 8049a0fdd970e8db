// What a gateway remembers of relay-svc's answers, so that the usual message costs one RPC.
#ifndef POSTERN_SERVICES_CLIENTS_POLICY_MEMORY_H_
#define POSTERN_SERVICES_CLIENTS_POLICY_MEMORY_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "proto/postern/relay/v1/policy.pb.h"
#include "services/clients/answer_table.h"

namespace postern::clients {

// Decides what is kept. A refusal of a network is kept for a second at most: that makes a flood
// from there cheap and still ends soon after the policy changes. A refusal of a recipient is not
// kept: a mailbox that was just made, or has room again, takes mail at once. Thread-safe.
class PolicyMemory {
 public:
  PolicyMemory();
  ~PolicyMemory();

  // `network`: net::NetworkOf; empty: nothing is remembered for it. The answer, when it holds for
  // one more event of `request`, which is counted then; or nullopt, and what was counted since the
  // last time is in `request`, which has to be asked.
  std::optional<relay::v1::CheckConnectionResponse> FindConnection(
      absl::string_view network, relay::v1::CheckConnectionRequest* request, SteadyTime now);
  void KeepConnection(absl::string_view network, const relay::v1::CheckConnectionResponse& response,
                      SteadyTime now);
  std::shared_ptr<const relay::v1::CheckRecipientResponse> FindRecipient(
      absl::string_view recipient, SteadyTime now) const;
  void KeepRecipient(absl::string_view recipient, const relay::v1::CheckRecipientResponse& response,
                     SteadyTime now);

 private:
  // What a network was told, and what it has done since.
  struct Connections;

  AnswerTable<Connections> connections_;
  AnswerTable<const relay::v1::CheckRecipientResponse> recipients_;
};

}  // namespace postern::clients

#endif  // POSTERN_SERVICES_CLIENTS_POLICY_MEMORY_H_
