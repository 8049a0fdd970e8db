// What may come in and what may leave: the answers of PolicyService.
#ifndef POSTERN_RELAY_SVC_DOMAIN_POLICY_H_
#define POSTERN_RELAY_SVC_DOMAIN_POLICY_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "boost/asio/awaitable.hpp"
#include "proto/postern/relay/v1/policy.pb.h"
#include "relay-svc/domain/submitter.h"
#include "services/clients/auth_client.h"
#include "services/clients/store_client.h"
#include "services/identity/token.h"
#include "services/limits/limits.h"
#include "services/process/clock.h"

namespace postern::relay {

struct PolicyOptions {
  // How long gateways may remember an answer that accepts.
  int ttl_seconds = 2;
  // Of a client's network; nullopt: as much as comes.
  std::optional<limits::Rate> connections;
  std::optional<limits::Rate> messages;
  // nullopt: nobody is.
  std::optional<limits::Greylisting> greylisting;
  process::Clock clock = process::SystemClock();
};

// Thread-safe. What it is given must outlive every call. UNAVAILABLE: a service that has to be
// asked doesn't answer.
class Policy {
 public:
  Policy(PolicyOptions options, clients::DirectoryClient* directory, clients::DeliveryClient* store,
         const identity::TokenVerifier* verifier, limits::Limits* limits);

  // Accepts every client that has an address, within the rates.
  boost::asio::awaitable<absl::StatusOr<relay::v1::CheckConnectionResponse>> CheckConnection(
      const relay::v1::CheckConnectionRequest& request) const;

  // The null sender is everybody's, for read receipts (RFC 8098 3): the header's From says who it
  // is. As anyone else a user may send only what MaySendAs allows (verify_identity; RFC 6409 6.1).
  boost::asio::awaitable<absl::StatusOr<relay::v1::CheckSenderResponse>> CheckSender(
      Caller caller, const relay::v1::CheckSenderRequest& request) const;

  // Without a token (mx): ours, known, not full and not greylisted, or refused; never relayed, but
  // for an alias that leaves the platform (ForwardingService decides that itself). With
  // one: local as above but for the quota (a full mailbox is tried again from the queue), and
  // everything else may leave.
  boost::asio::awaitable<absl::StatusOr<relay::v1::CheckRecipientResponse>> CheckRecipient(
      Caller caller, const relay::v1::CheckRecipientRequest& request) const;

 private:
  // Counts what `network` did, and `now` (0 or 1) more when that is within the rate.
  boost::asio::awaitable<limits::Verdict> Count(absl::string_view what, const limits::Rate& rate,
                                                const std::string& network, int64_t happened,
                                                int64_t now) const;
  boost::asio::awaitable<bool> IsGreylisted(const relay::v1::CheckRecipientRequest& request) const;

  const PolicyOptions options_;
  clients::DirectoryClient* const directory_;
  clients::DeliveryClient* const store_;
  const identity::TokenVerifier* const verifier_;
  limits::Limits* const limits_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_POLICY_H_
