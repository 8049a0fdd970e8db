#include "relay-svc/domain/delivery_attempt.h"

#include <map>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "relay-svc/domain/destination.h"
#include "relay-svc/domain/dsn.h"
#include "relay-svc/domain/header_section.h"
#include "relay-svc/domain/random_id.h"
#include "services/async/gather.h"
#include "services/crypto/random_id.h"
#include "services/protocol/mail/address.h"
#include "services/protocol/mail/header.h"

namespace postern::relay {
namespace {

using auth::v1::ResolveRecipientResponse;
using boost::asio::awaitable;
using ResolvedOr = absl::StatusOr<ResolveRecipientResponse>;

// Long enough for a restart of auth-svc: the client repeats the call meanwhile.
constexpr absl::Duration kResolveTime = absl::Seconds(30);
constexpr size_t kResolvesAtOnce = 16;
constexpr size_t kMaxResultOctets = 500;

rpc::CallContext NewCall(const std::string& trace_id) {
  return {.trace = rpc::TraceContext::Within(trace_id),
          .deadline = absl::Now() + kResolveTime,
          // Nobody waits.
          .patience = absl::InfiniteDuration()};
}

awaitable<std::vector<ResolvedOr>> Resolve(const Job& job, size_t count,
                                           clients::DirectoryClient* directory) {
  co_return co_await async::Gather<ResolveRecipientResponse>(
      count, kResolvesAtOnce, [&](size_t i, async::Done<ResolveRecipientResponse> done) {
        auth::v1::ResolveRecipientRequest request;
        request.set_address(job.recipients[i].address);
        request.set_sender(job.message.sender);
        directory->ResolveRecipient(NewCall(job.message.trace_id), std::move(request),
                                    std::move(done));
      });
}

// The result when the directory's answer settles it.
std::optional<DeliveryResult> Settled(const ResolvedOr& resolved) {
  if (!resolved.ok()) {
    return DeliveryResult::Unavailable("the directory is not available");
  }
  switch (resolved->outcome()) {
    case ResolveRecipientResponse::OUTCOME_LOCAL:
    case ResolveRecipientResponse::OUTCOME_NOT_LOCAL:
      return std::nullopt;
    case ResolveRecipientResponse::OUTCOME_UNKNOWN:
      return DeliveryResult::Permanent("5.1.1", "no such mailbox here");
    case ResolveRecipientResponse::OUTCOME_DISABLED:
      return DeliveryResult::Permanent("5.2.1", "the mailbox is disabled");
    default:
      return DeliveryResult::Temporary("4.3.0", "the directory's answer is not known here");
  }
}

// Indices of the job's recipients that go out together, and their part of the answer.
struct Group {
  std::vector<size_t> indices;
  std::vector<DeliveryRecipient> recipients;
};

awaitable<void> DeliverGroup(const Job& job, const std::string& destination, const Group& group,
                             Deliverer* deliverer, MessageBody& body,
                             std::vector<DeliveryResult>* results) {
  if (group.indices.empty()) co_return;
  std::vector<DeliveryResult> answers =
      co_await deliverer->Deliver(job.message, destination, group.recipients, body);
  for (size_t i = 0; i < group.indices.size() && i < answers.size(); ++i) {
    (*results)[group.indices[i]] = std::move(answers[i]);
  }
}

// The destination of an address whose domain may be anything.
absl::StatusOr<std::string> DestinationOfAddress(const std::string& text) {
  absl::StatusOr<mail::Address> address = mail::ParseAddress(text, /*allow_utf8=*/true);
  return address.ok() ? DestinationOf(address->domain) : address.status();
}

DeliveryResult NoSuchDomain() {
  return DeliveryResult::Permanent("5.1.2", "no mail goes to this domain");
}

// Adds to what became of a recipient here what of it goes on elsewhere.
void AddForwards(const ResolveRecipientResponse& resolved, DeliveryResult* result) {
  for (const std::string& address : resolved.forwards()) {
    absl::StatusOr<std::string> destination = DestinationOfAddress(address);
    if (destination.ok()) {
      result->forwards.push_back({address, *std::move(destination)});
    } else {
      result->members.push_back(NoSuchDomain());
      result->members.back().address = address;
    }
  }
  result->forward_sender = resolved.forward_sender();
  absl::StrAppend(&result->text, result->text.empty() ? "" : "; ", "sent on to ",
                  result->forwards.size(), " elsewhere");
}

// Of each sender one message to all that it goes on to.
std::vector<NewMessage> Forwarded(const Job& job, const std::vector<DeliveryResult>& results,
                                  absl::Time now) {
  std::map<std::string, NewMessage> by_sender;
  absl::flat_hash_set<std::pair<std::string, std::string>> seen;
  for (const DeliveryResult& result : results) {
    for (const NewMessage::Recipient& recipient : result.forwards) {
      if (!seen.emplace(result.forward_sender, recipient.address).second) continue;
      by_sender[result.forward_sender].recipients.push_back(recipient);
    }
  }
  std::vector<NewMessage> messages;
  for (auto& [sender, message] : by_sender) {
    message.message = job.message;
    message.message.queue_id = NewQueueId();
    message.message.sender = sender;
    message.message.enqueued_at = now;
    messages.push_back(std::move(message));
  }
  return messages;
}

std::string OneLine(absl::string_view text) {
  std::string line;
  for (const char c : text.substr(0, kMaxResultOctets)) line += absl::ascii_iscntrl(c) ? ' ' : c;
  return line;
}

std::string LastResult(const DeliveryResult& result) {
  return OneLine(result.remote_mta.empty() ? result.text
                                           : absl::StrCat(result.remote_mta, ": ", result.text));
}

// RFC 3463 wants class 5 of what failed (a recipient whose time is up failed with a 4.x.x), class 4
// of what waits.
std::string StatusOfClass(absl::string_view wanted, absl::string_view enhanced) {
  if (absl::StartsWith(enhanced, wanted)) return std::string(enhanced);
  return absl::StrCat(wanted, "0.0");
}

}  // namespace

awaitable<std::vector<DeliveryResult>> AttemptDelivery(const Job& job, MessageBody& body,
                                                       clients::DirectoryClient* directory,
                                                       Deliverer* local, Deliverer* remote) {
  const size_t count = job.recipients.size();
  std::vector<DeliveryResult> results(
      count, DeliveryResult::Temporary("4.3.0", "no answer from the delivery"));
  const absl::StatusOr<std::shared_ptr<const std::string>> first = co_await body.FirstPiece();
  if (!first.ok()) {
    results.assign(count, DeliveryResult::Unavailable("the spool can't be read"));
    co_return results;
  }
  if (CountReceived(HeaderSectionOf(**first)) > mail::kMaxReceivedFields) {
    results.assign(count, DeliveryResult::Permanent(
                              "5.4.6", absl::StrCat("the message loops: over ",
                                                    mail::kMaxReceivedFields, " Received fields")));
    co_return results;
  }

  // A domain that is not ours is asked for once.
  std::vector<ResolvedOr> resolved =
      co_await Resolve(job, job.destination == kLocalDestination ? count : 1, directory);
  if (resolved.size() < count) {
    const bool remote_domain =
        resolved[0].ok() && resolved[0]->outcome() == ResolveRecipientResponse::OUTCOME_NOT_LOCAL;
    if (remote_domain || !resolved[0].ok()) {
      resolved.resize(count, resolved[0]);
    } else {
      resolved = co_await Resolve(job, count, directory);
    }
  }

  Group here;
  std::map<std::string, Group> elsewhere;
  for (size_t i = 0; i < count; ++i) {
    if (std::optional<DeliveryResult> settled = Settled(resolved[i]); settled.has_value()) {
      results[i] = *std::move(settled);
      continue;
    }
    DeliveryRecipient recipient{job.recipients[i].address, {}};
    if (resolved[i]->outcome() == ResolveRecipientResponse::OUTCOME_LOCAL) {
      recipient.mailboxes.assign(resolved[i]->mailboxes().begin(), resolved[i]->mailboxes().end());
      recipient.forwarded = resolved[i]->forwards_size() > 0;
      // Nothing forwards into a domain of ours: the directory sees to it.
      if (recipient.forwarded && job.destination != kLocalDestination) {
        results[i] = DeliveryResult::Permanent("5.4.6", "the message would be sent on twice");
        continue;
      }
      if (recipient.forwarded && recipient.mailboxes.empty()) {
        results[i] = DeliveryResult::Delivered("");
        continue;
      }
      here.indices.push_back(i);
      here.recipients.push_back(std::move(recipient));
      continue;
    }
    std::string destination = job.destination;
    if (destination == kLocalDestination) {
      // It was ours when the message came.
      absl::StatusOr<std::string> domain = DestinationOfAddress(recipient.address);
      if (!domain.ok()) {
        results[i] = NoSuchDomain();
        continue;
      }
      destination = *std::move(domain);
    }
    Group& group = elsewhere[destination];
    group.indices.push_back(i);
    group.recipients.push_back(std::move(recipient));
  }
  co_await DeliverGroup(job, std::string(kLocalDestination), here, local, body, &results);
  for (const auto& [destination, group] : elsewhere) {
    co_await DeliverGroup(job, destination, group, remote, body, &results);
  }
  for (size_t i = 0; job.destination == kLocalDestination && i < count; ++i) {
    if (resolved[i].ok() && resolved[i]->forwards_size() > 0) {
      AddForwards(*resolved[i], &results[i]);
    }
  }
  co_return results;
}

JobOutcome DecideOutcome(const Job& job, const std::vector<DeliveryResult>& results,
                         absl::string_view message_start, const OutcomeContext& context) {
  JobOutcome outcome;
  outcome.queue_id = job.message.queue_id;
  outcome.claim = job.claim;
  std::vector<ReportedRecipient> reported;
  const bool late =
      !job.message.sender.empty() && context.now >= job.message.enqueued_at + context.delay_warning;
  const bool expired = context.schedule.Expired(job.message.enqueued_at, context.now);
  const auto attempts_after = [](const Job::Recipient& recipient, const DeliveryResult& result) {
    return recipient.attempts + (result.ours ? 0 : 1);
  };
  // By attempts that were made: what failed together is tried again in one transaction.
  std::map<int, absl::Time> next_attempts;
  const auto next_attempt = [&](const Job::Recipient& recipient, const DeliveryResult& result) {
    const int attempts = result.ours ? 0 : attempts_after(recipient, result);
    const auto [at, is_new] = next_attempts.try_emplace(attempts);
    if (is_new) {
      at->second = context.schedule.NextAttempt(job.message.enqueued_at, context.now, attempts,
                                                context.random);
    }
    return at->second;
  };
  const auto report = [&](ReportedRecipient::Action action, const std::string& address,
                          std::string status, const DeliveryResult& result) {
    reported.push_back({action, address, std::move(status), OneLine(result.text), result.is_reply,
                        result.remote_mta});
  };
  // Of a recipient, or of a member of it.
  const auto decide = [&](const std::string& address, const DeliveryResult& result,
                          bool* delay_told) {
    switch (result.kind) {
      case DeliveryResult::Kind::kDelivered:
        return RecipientOutcome::Kind::kDelivered;
      case DeliveryResult::Kind::kTemporary:
        if (expired) {
          // RFC 3463 X.4.7: delivery time expired.
          report(ReportedRecipient::Action::kFailed, address, "4.4.7", result);
          return RecipientOutcome::Kind::kFailed;
        }
        if (late && !*delay_told) {
          report(ReportedRecipient::Action::kDelayed, address, StatusOfClass("4.", result.enhanced),
                 result);
          *delay_told = true;
        }
        return RecipientOutcome::Kind::kWaiting;
      case DeliveryResult::Kind::kPermanent:
        report(ReportedRecipient::Action::kFailed, address, StatusOfClass("5.", result.enhanced),
               result);
        return RecipientOutcome::Kind::kFailed;
    }
    return RecipientOutcome::Kind::kWaiting;
  };
  for (size_t i = 0; i < job.recipients.size(); ++i) {
    const Job::Recipient& recipient = job.recipients[i];
    const DeliveryResult& result = results[i];
    RecipientOutcome& decided = outcome.recipients.emplace_back();
    decided.id = recipient.id;
    decided.attempts = attempts_after(recipient, result);
    decided.last_result = LastResult(result);
    decided.delay_told = recipient.delay_told;
    decided.kind = decide(recipient.address, result, &decided.delay_told);
    if (decided.kind == RecipientOutcome::Kind::kWaiting) {
      decided.next_attempt_at = next_attempt(recipient, result);
    }
    for (const DeliveryResult& member : result.members) {
      bool delay_told = recipient.delay_told;
      if (decide(member.address, member, &delay_told) != RecipientOutcome::Kind::kWaiting) continue;
      outcome.added.push_back({member.address, attempts_after(recipient, member),
                               next_attempt(recipient, member), LastResult(member), delay_told});
    }
  }
  outcome.forwarded = Forwarded(job, results, context.now);
  if (reported.empty() || job.message.sender.empty()) return outcome;

  DeliveryNotice notice;
  notice.hostname = context.hostname;
  notice.sender = job.message.sender;
  notice.queue_id = job.message.queue_id;
  notice.arrived_at = job.message.enqueued_at;
  notice.attempted_at = context.now;
  notice.expires_at = context.schedule.Expiry(job.message.enqueued_at);
  notice.recipients = std::move(reported);
  notice.message = message_start;
  notice.unique = crypto::RandomId();
  JobOutcome::Notice& spooled = outcome.notice.emplace();
  spooled.body = BuildDeliveryNotice(notice);
  spooled.message.message.queue_id = NewQueueId();
  spooled.message.message.enqueued_at = context.now;
  spooled.message.message.trace_id = job.message.trace_id;
  spooled.message.message.smtputf8 = NeedsUtf8(notice);
  // Ours, mostly; the attempt asks the directory again.
  spooled.message.recipients.push_back({job.message.sender, std::string(kLocalDestination)});
  return outcome;
}

}  // namespace postern::relay
