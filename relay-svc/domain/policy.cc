#include "relay-svc/domain/policy.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "relay-svc/domain/destination.h"
#include "relay-svc/domain/rate_refusals.h"
#include "services/async/await.h"
#include "services/identity/access.h"
#include "services/net/client_network.h"
#include "services/protocol/mail/address.h"
#include "services/telemetry/metrics.h"

namespace postern::relay {
namespace {

using auth::v1::ResolveRecipientResponse;
using boost::asio::awaitable;
using v1::CheckConnectionResponse;
using v1::CheckRecipientResponse;
using v1::CheckSenderResponse;

telemetry::Counter& Greylisted() {
  return telemetry::GetCounter("postern_relay_greylisted_total",
                               "Recipients that were told to try again later.");
}

CheckRecipientResponse Refused(v1::Refusal refusal) {
  CheckRecipientResponse response;
  response.set_refusal(refusal);
  return response;
}

}  // namespace

Policy::Policy(PolicyOptions options, clients::DirectoryClient* directory,
               clients::DeliveryClient* store, const identity::TokenVerifier* verifier,
               limits::Limits* limits)
    : options_(std::move(options)),
      directory_(directory),
      store_(store),
      verifier_(verifier),
      limits_(limits) {
  // A rate misses what made its counter appear.
  for (const char* rate : {"connections", "messages", "recipients"}) RateRefusals(rate);
  Greylisted();
}

awaitable<limits::Verdict> Policy::Count(absl::string_view what, const limits::Rate& rate,
                                         const std::string& network, int64_t happened,
                                         int64_t now) const {
  limits::Charge charge{absl::StrCat(what, ":", network), rate, happened, /*unconditional=*/true};
  if (happened > 0) {
    const limits::Verdict verdict = co_await async::Await<limits::Verdict>(
        [&](limits::Answer<limits::Verdict> done) { limits_->Take(charge, std::move(done)); });
    if (!verdict.allowed) co_return verdict;
  }
  charge.cost = now;
  charge.unconditional = false;
  co_return co_await async::Await<limits::Verdict>([&](limits::Answer<limits::Verdict> done) {
    limits_->Take(std::move(charge), std::move(done));
  });
}

awaitable<absl::StatusOr<CheckConnectionResponse>> Policy::CheckConnection(
    const v1::CheckConnectionRequest& request) const {
  CheckConnectionResponse response;
  const std::string network = net::NetworkOf(request.client_address());
  if (network.empty()) {
    response.set_refusal(v1::REFUSAL_CLIENT);
    co_return response;
  }
  response.set_ttl_seconds(options_.ttl_seconds);
  const bool message = request.event() == v1::CheckConnectionRequest::EVENT_MESSAGE;
  if (options_.connections.has_value()) {
    const limits::Verdict verdict = co_await Count("connections", *options_.connections, network,
                                                   request.connections(), message ? 0 : 1);
    response.set_connections_left(verdict.left);
    if (!verdict.allowed && !message) response.set_refusal(v1::REFUSAL_CLIENT_TEMPORARY);
  }
  if (options_.messages.has_value()) {
    const limits::Verdict verdict = co_await Count("messages", *options_.messages, network,
                                                   request.messages(), message ? 1 : 0);
    response.set_messages_left(verdict.left);
    if (!verdict.allowed && message) response.set_refusal(v1::REFUSAL_CLIENT_TEMPORARY);
  }
  if (response.refusal() != v1::REFUSAL_UNSPECIFIED)
    RateRefusals(message ? "messages" : "connections").Add();
  co_return response;
}

awaitable<bool> Policy::IsGreylisted(const v1::CheckRecipientRequest& request) const {
  // Whoever asks whether an address exists comes without a sender, and does not come again.
  if (!options_.greylisting.has_value() || request.sender().empty()) co_return false;
  const std::string network = net::NetworkOf(request.client_address());
  const std::string known = absl::StrCat("greylist-passed:", network);
  if (co_await async::Await<bool>(
          [&](limits::Answer<bool> done) { limits_->IsRemembered(known, std::move(done)); })) {
    limits_->Remember(known, options_.greylisting->pass_lifetime);
    co_return false;
  }
  const absl::Duration wait =
      co_await async::Await<absl::Duration>([&](limits::Answer<absl::Duration> done) {
        limits_->Greylist(
            absl::StrCat("greylist:", network, ":", request.sender(), ":", request.recipient()),
            *options_.greylisting, std::move(done));
      });
  if (wait <= absl::ZeroDuration()) limits_->Remember(known, options_.greylisting->pass_lifetime);
  co_return wait > absl::ZeroDuration();
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
  if (!*allowed) response.set_refusal(v1::REFUSAL_MAY_NOT_SEND_AS);
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
  resolve.set_sender(request.sender());
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

  // What leaves goes by the queue, where a full mailbox is tried again.
  const int forwards = resolved->forwards_size();
  if (!submission) {
    if (forwards == 0) {
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
    if (co_await IsGreylisted(request)) {
      Greylisted().Add();
      co_return Refused(v1::REFUSAL_GREYLISTED);
    }
  }
  CheckRecipientResponse response;
  response.mutable_mailboxes()->Swap(resolved->mutable_mailboxes());
  response.set_forwards(forwards);
  // A greylist's answer is for this client and sender alone; who an SRS address stands for is known
  // to the null sender alone.
  if (!options_.greylisting.has_value() && forwards == 0) {
    response.set_ttl_seconds(options_.ttl_seconds);
  }
  co_return response;
}

}  // namespace postern::relay
