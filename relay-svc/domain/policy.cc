#include "relay-svc/domain/policy.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "boost/asio/ip/address.hpp"
#include "relay-svc/domain/destination.h"
#include "services/async/await.h"
#include "services/identity/access.h"
#include "services/protocol/mail/address.h"

namespace postern::relay {
namespace {

using auth::v1::ResolveRecipientResponse;
using boost::asio::awaitable;
using v1::CheckConnectionResponse;
using v1::CheckRecipientResponse;
using v1::CheckSenderResponse;

CheckRecipientResponse Refused(v1::Refusal refusal) {
  CheckRecipientResponse response;
  response.set_refusal(refusal);
  return response;
}

}  // namespace

Policy::Policy(PolicyOptions options, clients::DirectoryClient* directory,
               clients::DeliveryClient* store, const identity::TokenVerifier* verifier)
    : options_(std::move(options)), directory_(directory), store_(store), verifier_(verifier) {}

CheckConnectionResponse Policy::CheckConnection(const v1::CheckConnectionRequest& request) const {
  CheckConnectionResponse response;
  boost::system::error_code error;
  boost::asio::ip::make_address(request.client_address(), error);
  if (error) {
    response.set_refusal(v1::REFUSAL_CLIENT);
  } else {
    response.set_ttl_seconds(options_.ttl_seconds);
  }
  return response;
}

awaitable<absl::StatusOr<CheckSenderResponse>> Policy::CheckSender(
    Caller caller, const v1::CheckSenderRequest& request) const {
  absl::StatusOr<token::v1::Claims> claims = VerifySubmitter(
      *verifier_, caller, request.token(), request.session_nonce(), options_.clock());
  if (!claims.ok()) co_return claims.status();
  CheckSenderResponse response;
  // Everybody's; the header's From says who it is.
  if (request.sender().empty()) co_return response;
  if (!mail::ParseAddress(request.sender(), /*allow_utf8=*/true).ok()) {
    response.set_refusal(v1::REFUSAL_BAD_ADDRESS);
    co_return response;
  }
  std::vector<std::string> addresses = {request.sender()};
  absl::StatusOr<bool> allowed =
      co_await MaySendAs(directory_, caller.call, claims->account_id(), std::move(addresses));
  if (!allowed.ok()) co_return allowed.status();
  if (!*allowed) response.set_refusal(v1::REFUSAL_SENDER_NOT_OWNED);
  co_return response;
}

awaitable<absl::StatusOr<CheckRecipientResponse>> Policy::CheckRecipient(
    Caller caller, const v1::CheckRecipientRequest& request) const {
  const bool submission = caller.identity == identity::kGatewaySmtpSubmission;
  if (submission || !request.token().empty()) {
    absl::StatusOr<token::v1::Claims> claims = VerifySubmitter(
        *verifier_, caller, request.token(), request.session_nonce(), options_.clock());
    if (!claims.ok()) co_return claims.status();
  }
  // RFC 5321 4.5.1: postmaster needs no domain.
  if (!absl::EqualsIgnoreCase(request.recipient(), "postmaster")) {
    absl::StatusOr<mail::Address> address =
        mail::ParseAddress(request.recipient(), /*allow_utf8=*/true);
    if (!address.ok() || !DestinationOf(address->domain).ok()) {
      co_return Refused(v1::REFUSAL_BAD_ADDRESS);
    }
  }

  auth::v1::ResolveRecipientRequest resolve;
  resolve.set_address(request.recipient());
  absl::StatusOr<ResolveRecipientResponse> resolved =
      co_await async::Await<absl::StatusOr<ResolveRecipientResponse>>(
          [&](async::Done<ResolveRecipientResponse> done) {
            directory_->ResolveRecipient(caller.call, std::move(resolve), std::move(done));
          });
  // A domain that the directory knows better than we do to be none.
  if (absl::IsInvalidArgument(resolved.status())) co_return Refused(v1::REFUSAL_BAD_ADDRESS);
  if (!resolved.ok()) co_return absl::UnavailableError("the directory does not answer");
  switch (resolved->outcome()) {
    case ResolveRecipientResponse::OUTCOME_LOCAL:
      break;
    case ResolveRecipientResponse::OUTCOME_NOT_LOCAL:
      co_return submission ? CheckRecipientResponse() : Refused(v1::REFUSAL_RELAYING);
    case ResolveRecipientResponse::OUTCOME_UNKNOWN:
      co_return Refused(v1::REFUSAL_UNKNOWN_USER);
    case ResolveRecipientResponse::OUTCOME_DISABLED:
      co_return Refused(v1::REFUSAL_DISABLED);
    default:
      co_return absl::UnavailableError("the directory's answer is not known here");
  }

  if (!submission) {
    store::v1::CheckQuotaRequest quota;
    for (const auth::v1::Mailbox& mailbox : resolved->mailboxes()) {
      quota.add_mailbox_ids(mailbox.mailbox_id());
    }
    absl::StatusOr<store::v1::CheckQuotaResponse> full =
        co_await async::Await<absl::StatusOr<store::v1::CheckQuotaResponse>>(
            [&](async::Done<store::v1::CheckQuotaResponse> done) {
              store_->CheckQuota(caller.call, std::move(quota), std::move(done));
            });
    if (!full.ok()) co_return absl::UnavailableError("the mail store does not answer");
    // All or nothing: it would refuse the delivery.
    if (full->full_mailbox_ids_size() > 0) co_return Refused(v1::REFUSAL_MAILBOX_FULL);
  }
  CheckRecipientResponse response;
  response.mutable_mailboxes()->Swap(resolved->mutable_mailboxes());
  response.set_ttl_seconds(options_.ttl_seconds);
  co_return response;
}

}  // namespace postern::relay
