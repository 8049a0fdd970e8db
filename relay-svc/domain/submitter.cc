#include "relay-svc/domain/submitter.h"

#include <utility>

#include "proto/postern/auth/v1/authentication.pb.h"
#include "services/async/await.h"
#include "services/clients/content_fault.h"
#include "services/identity/access.h"
#include "services/telemetry/log.h"

namespace postern::relay {

absl::StatusOr<token::v1::Claims> VerifySubmitter(const identity::TokenVerifier& verifier,
                                                  const Caller& caller, absl::string_view token,
                                                  absl::string_view session_nonce, absl::Time now) {
  if (caller.identity != identity::kGatewaySmtpSubmission) {
    return absl::PermissionDeniedError("only the submission gateway may present a token");
  }
  absl::StatusOr<token::v1::Claims> claims =
      verifier.Verify(token, {.purpose = auth::v1::PURPOSE_SUBMISSION,
                              .gateway = caller.identity,
                              .session_nonce = session_nonce,
                              .now = now});
  if (!claims.ok()) {
    telemetry::Log(telemetry::LogLevel::kWarning, "token refused",
                   {{"trace", caller.call.trace.trace_id},
                    {"reason", absl::string_view(claims.status().message())}});
    return absl::UnauthenticatedError("the token is not good");
  }
  return claims;
}

boost::asio::awaitable<absl::StatusOr<bool>> MaySendAs(clients::DirectoryClient* directory,
                                                       const rpc::CallContext& call,
                                                       std::string account_id,
                                                       std::vector<std::string> addresses) {
  auth::v1::MaySendAsRequest request;
  request.set_account_id(std::move(account_id));
  for (std::string& address : addresses) request.add_addresses(std::move(address));
  absl::StatusOr<auth::v1::MaySendAsResponse> response =
      co_await async::Await<absl::StatusOr<auth::v1::MaySendAsResponse>>(
          [&](async::Done<auth::v1::MaySendAsResponse> done) {
            directory->MaySendAs(call, std::move(request), std::move(done));
          });
  if (absl::IsInvalidArgument(response.status())) {
    co_return clients::ContentFaultError(v1::ContentFault::KIND_TOO_MANY_ADDRESSES);
  }
  if (!response.ok()) co_return absl::UnavailableError("the directory does not answer");
  co_return response->allowed();
}

}  // namespace postern::relay
