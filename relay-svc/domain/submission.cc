#include "relay-svc/domain/submission.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "relay-svc/domain/destination.h"
#include "relay-svc/domain/header_section.h"
#include "relay-svc/domain/random_id.h"
#include "relay-svc/domain/rate_refusals.h"
#include "services/async/await.h"
#include "services/async/gather.h"
#include "services/clients/content_fault.h"
#include "services/protocol/mail/address.h"
#include "services/telemetry/log.h"

namespace postern::relay {
namespace {

using auth::v1::ResolveRecipientResponse;
using boost::asio::awaitable;
using clients::ContentFaultError;
using v1::ContentFault;

constexpr size_t kDeliveryIdOctets = 16;
constexpr size_t kResolvesAtOnce = 16;

}  // namespace

awaitable<absl::Status> Submission::Begin(Caller caller, v1::EnqueueHeader header) {
  caller_ = std::move(caller);
  header_ = std::move(header);
  if (user()) {
    absl::StatusOr<token::v1::Claims> claims =
        VerifySubmitter(*parts_.verifier, caller_, header_.token(), header_.session_nonce(),
                        parts_.options.clock());
    if (!claims.ok()) co_return claims.status();
    account_id_ = claims->account_id();
  }
  if (header_.delivery_id().size() != kDeliveryIdOctets) {
    co_return absl::InvalidArgumentError("delivery_id has not 16 octets");
  }
  // The null sender is everybody's, for what must not be answered (RFC 8098 3: read receipts); From
  // then says who it is.
  if (!header_.envelope_sender().empty() &&
      !mail::ParseAddress(header_.envelope_sender(), header_.smtputf8()).ok()) {
    co_return absl::InvalidArgumentError("envelope_sender is no address");
  }
  if (parts_.spool->messages() >= parts_.options.max_queue_messages) {
    co_return absl::ResourceExhaustedError("the queue is too full for what is forwarded");
  }
  if (header_.recipients().empty() || header_.recipients_size() > parts_.options.max_recipients) {
    co_return absl::InvalidArgumentError("no recipients, or too many");
  }
  absl::flat_hash_set<std::string> seen;
  for (const std::string& recipient : header_.recipients()) {
    NewMessage::Recipient entry{recipient, ""};
    if (!absl::EqualsIgnoreCase(recipient, "postmaster")) {
      absl::StatusOr<mail::Address> address = mail::ParseAddress(recipient, header_.smtputf8());
      if (!address.ok()) co_return absl::InvalidArgumentError("a recipient is no address");
      absl::StatusOr<std::string> destination = DestinationOf(address->domain);
      if (!destination.ok()) co_return destination.status();
      entry = {address->ToString(), *std::move(destination)};
    }
    // The same recipient twice gets the message once.
    if (seen.insert(entry.address).second) recipients_.push_back(std::move(entry));
  }
  writer_ = parts_.spool->NewMessageWriter();
  co_return absl::OkStatus();
}

// RFC 5321 2.3.8: CR and LF only together. What is loose could end the message early at another
// host (SMTP smuggling).
absl::Status Submission::CheckLineEnds(absl::string_view octets) {
  if (octets.empty()) return absl::OkStatus();
  const absl::Status loose = ContentFaultError(ContentFault::KIND_BARE_LINE_END);
  if (last_octet_ == '\r' && octets[0] != '\n') return loose;
  for (size_t at = octets.find('\n'); at != absl::string_view::npos;
       at = octets.find('\n', at + 1)) {
    if ((at == 0 ? last_octet_ : octets[at - 1]) != '\r') return loose;
  }
  for (size_t at = octets.find('\r'); at != absl::string_view::npos;
       at = octets.find('\r', at + 1)) {
    if (at + 1 < octets.size() && octets[at + 1] != '\n') return loose;
  }
  last_octet_ = octets.back();
  return absl::OkStatus();
}

awaitable<absl::Status> Submission::Add(absl::string_view octets) {
  octets_ += octets.size();
  if (octets_ > parts_.options.max_message_octets) {
    co_return ContentFaultError(ContentFault::KIND_TOO_LARGE);
  }
  if (absl::Status status = CheckLineEnds(octets); !status.ok()) co_return status;
  body_digest_.Update(octets);
  if (admitted_) co_return co_await Keep(octets);
  start_.append(octets.data(), octets.size());
  if (!HasWholeHeader(start_)) {
    if (start_.size() > kMaxHeaderOctets) {
      co_return ContentFaultError(ContentFault::KIND_HEADER_TOO_LARGE);
    }
    co_return absl::OkStatus();
  }
  co_return co_await Admit();
}

awaitable<absl::Status> Submission::Admit() {
  admitted_ = true;
  const absl::string_view section = HeaderSectionOf(start_);
  if (section.size() > kMaxHeaderOctets) {
    co_return ContentFaultError(ContentFault::KIND_HEADER_TOO_LARGE);
  }
  absl::Status status;
  if (user()) {
    status = co_await CheckOriginators();
  } else if (HopsThroughHere(section) > kMaxHopsThroughHere) {
    status = ContentFaultError(ContentFault::KIND_LOOP);
  }
  if (!status.ok()) co_return status;
  if (status = co_await CheckRecipients(); !status.ok()) co_return status;

  const std::string start = std::move(start_);
  start_.clear();
  co_return co_await Keep(start);
}

awaitable<absl::Status> Submission::CheckOriginators() {
  const absl::string_view section = HeaderSectionOf(start_);
  absl::StatusOr<Originators> originators = ReadOriginators(section);
  if (!originators.ok()) co_return originators.status();
  const std::string& envelope_sender = header_.envelope_sender();
  if (!originators->from) {
    // RFC 6409 8.1; as Postfix does for its own users. Nobody's mail leaves without its author.
    if (envelope_sender.empty()) co_return ContentFaultError(ContentFault::KIND_MISSING, "From");
    start_.insert(section.size(), absl::StrCat("From: <", envelope_sender, ">\r\n"));
  }

  std::vector<std::string> senders = std::move(originators->addresses);
  if (!envelope_sender.empty()) senders.push_back(envelope_sender);
  std::sort(senders.begin(), senders.end());
  senders.erase(std::unique(senders.begin(), senders.end()), senders.end());
  absl::StatusOr<bool> allowed =
      co_await MaySendAs(parts_.directory, caller_.call, account_id_, std::move(senders));
  if (!allowed.ok()) co_return allowed.status();
  if (!*allowed) {
    co_return absl::PermissionDeniedError("MAIL FROM, From or Sender is not the account's");
  }
  co_return absl::OkStatus();
}

awaitable<absl::Status> Submission::CheckRecipients() {
  std::vector<absl::StatusOr<ResolveRecipientResponse>> resolved =
      co_await async::Gather<ResolveRecipientResponse>(
          recipients_.size(), kResolvesAtOnce,
          [&](size_t i, async::Done<ResolveRecipientResponse> done) {
            auth::v1::ResolveRecipientRequest request;
            request.set_address(recipients_[i].address);
            request.set_sender(header_.envelope_sender());
            parts_.directory->ResolveRecipient(caller_.call, std::move(request), std::move(done));
          });
  int destinations = 0;
  for (size_t i = 0; i < recipients_.size(); ++i) {
    if (!resolved[i].ok()) co_return absl::UnavailableError("the directory does not answer");
    switch (resolved[i]->outcome()) {
      case ResolveRecipientResponse::OUTCOME_LOCAL:
        recipients_[i].destination = std::string(kLocalDestination);
        destinations += resolved[i]->mailboxes_size() + resolved[i]->forwards_size();
        break;
      case ResolveRecipientResponse::OUTCOME_NOT_LOCAL:
        // No way out for others than users.
        if (!user()) co_return absl::AbortedError("a recipient is not here");
        ++destinations;
        break;
      case ResolveRecipientResponse::OUTCOME_UNKNOWN:
      case ResolveRecipientResponse::OUTCOME_DISABLED:
        co_return absl::AbortedError("a recipient vanished since RCPT");
      default:
        co_return absl::UnavailableError("the directory's answer is not known here");
    }
    // Gateways count as they go.
    if (destinations > rpc::kMaxMailboxes) {
      co_return absl::InvalidArgumentError("the recipients lead to too many");
    }
  }
  co_return absl::OkStatus();
}

awaitable<absl::Status> Submission::CountRecipients(int64_t recipients) {
  if (!user() || !parts_.options.recipients.has_value()) co_return absl::OkStatus();
  limits::Charge charge{absl::StrCat("recipients:", account_id_), *parts_.options.recipients,
                        recipients};
  const limits::Verdict verdict =
      co_await async::Await<limits::Verdict>([&](limits::Answer<limits::Verdict> done) {
        parts_.limits->Take(std::move(charge), std::move(done));
      });
  if (verdict.allowed || recipients < 0) co_return absl::OkStatus();
  RateRefusals("recipients").Add();
  co_return absl::FailedPreconditionError("the account has written to too many of late");
}

awaitable<absl::Status> Submission::Keep(absl::string_view octets) {
  while (piece_.size() + octets.size() > kMaxPieceOctets) {
    const size_t room = kMaxPieceOctets - piece_.size();
    piece_.append(octets.data(), room);
    octets.remove_prefix(room);
    std::string full;
    full.swap(piece_);
    absl::Status written = co_await async::Await<absl::Status>(
        [&](async::DoneStatus done) { writer_->Write(std::move(full), std::move(done)); });
    if (!written.ok()) co_return written;
  }
  piece_.append(octets.data(), octets.size());
  co_return absl::OkStatus();
}

awaitable<absl::StatusOr<v1::EnqueueResponse>> Submission::End() {
  if (last_octet_ == '\r') co_return ContentFaultError(ContentFault::KIND_BARE_LINE_END);
  if (!admitted_) {
    // All of it is header.
    if (absl::Status status = co_await Admit(); !status.ok()) co_return status;
  }
  absl::Status written = co_await async::Await<absl::Status>(
      [&](async::DoneStatus done) { writer_->Write(std::move(piece_), std::move(done)); });
  if (!written.ok()) co_return written;

  NewMessage message;
  message.message.queue_id = NewQueueId();
  message.message.sender = header_.envelope_sender();
  message.message.enqueued_at = parts_.options.clock();
  message.message.smtputf8 = header_.smtputf8();
  message.message.trace_id = caller_.call.trace.trace_id;
  message.recipients = recipients_;
  message.delivery_id = header_.delivery_id();
  Digest digest;
  digest.Field(account_id_);
  digest.Field(header_.envelope_sender());
  for (const std::string& recipient : header_.recipients()) digest.Field(recipient);
  digest.Field(header_.smtputf8() ? "SMTPUTF8" : "");
  digest.Field(body_digest_.Finish());
  message.digest = digest.Finish();

  const int64_t counted = static_cast<int64_t>(recipients_.size());
  if (absl::Status status = co_await CountRecipients(counted); !status.ok()) co_return status;
  absl::StatusOr<Committed> committed =
      co_await async::Await<absl::StatusOr<Committed>>([&](async::Done<Committed> done) {
        writer_->Commit(std::move(message), [&parts = parts_, done = std::move(done)](
                                                absl::StatusOr<Committed> result) mutable {
          // At once, from the spool's thread: no attempt can be over before this.
          if (result.ok()) parts.committed(result->due);
          done(std::move(result));
        });
      });
  if (!committed.ok() || committed->repeated) (void)co_await CountRecipients(-counted);
  if (!committed.ok()) co_return committed.status();
  telemetry::Log(telemetry::LogLevel::kInfo, "message spooled",
                 {{"queue_id", committed->queue_id},
                  {"trace", caller_.call.trace.trace_id},
                  {"account", account_id_},
                  {"recipients", recipients_.size()},
                  {"octets", octets_},
                  {"repeated", committed->repeated}});
  v1::EnqueueResponse response;
  response.set_queue_id(committed->queue_id);
  response.set_repeated_delivery(committed->repeated);
  co_return response;
}

}  // namespace postern::relay
