// Who is behind a call of the submission gateway.
#ifndef POSTERN_RELAY_SVC_DOMAIN_SUBMITTER_H_
#define POSTERN_RELAY_SVC_DOMAIN_SUBMITTER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "boost/asio/awaitable.hpp"
#include "proto/postern/token/v1/token.pb.h"
#include "services/clients/auth_client.h"
#include "services/identity/token.h"
#include "services/rpc/call_context.h"

namespace postern::relay {

// A call: who makes it, its trace and deadline.
struct Caller {
  // Of the certificate.
  std::string identity;
  rpc::CallContext call;
};

// PERMISSION_DENIED: not the submission gateway, which alone may present a token. UNAUTHENTICATED:
// the token is not good for submission, this gateway and this session, or it has expired.
absl::StatusOr<token::v1::Claims> VerifySubmitter(const identity::TokenVerifier& verifier,
                                                  const Caller& caller, absl::string_view token,
                                                  absl::string_view session_nonce, absl::Time now);

// Whether the account may send as every one of the addresses; asked of auth-svc, whatever the
// gateway found. UNAVAILABLE: auth-svc doesn't answer.
boost::asio::awaitable<absl::StatusOr<bool>> MaySendAs(clients::DirectoryClient* directory,
                                                       const rpc::CallContext& call,
                                                       std::string account_id,
                                                       std::vector<std::string> addresses);

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_SUBMITTER_H_
