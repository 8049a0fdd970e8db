#include "relay-svc/domain/local_delivery.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "services/async/await.h"
#include "services/async/gather.h"
#include "services/crypto/sha256.h"

namespace postern::relay {
namespace {

using boost::asio::awaitable;
using DeliverResponseOr = absl::StatusOr<store::v1::DeliverResponse>;

// Long enough for a restart of store-svc: the client repeats the call meanwhile.
constexpr absl::Duration kDeliverTime = absl::Seconds(30);
constexpr absl::Duration kStreamTime = absl::Minutes(10);
constexpr size_t kCallsAtOnce = 16;
// Bodies up to this size go to several recipients at a time; larger ones to one after the other.
constexpr uint64_t kSmallBodyOctets = 64 << 10;

rpc::CallContext NewCall(const SpooledMessage& message, absl::Duration time) {
  return {.trace = rpc::TraceContext::Within(message.trace_id),
          .deadline = absl::Now() + time,
          // Nobody waits.
          .patience = absl::InfiniteDuration()};
}

// A mailbox, by the first recipient that leads to it: it gets one copy, however it is reached.
struct Copy {
  const DeliveryRecipient* recipient;
  const auth::v1::Mailbox* mailbox;
};

store::v1::DeliveryHeader MakeHeader(const SpooledMessage& message, const Copy& copy) {
  store::v1::DeliveryHeader header;
  header.set_delivery_id(LocalDeliveryId(message.queue_id, copy.mailbox->mailbox_id()));
  header.set_envelope_sender(message.sender);
  store::v1::DeliveryRecipient* to = header.add_recipients();
  to->set_mailbox_id(copy.mailbox->mailbox_id());
  to->set_address(copy.mailbox->address());
  to->set_original_recipient(copy.recipient->address);
  return header;
}

DeliveryResult ToResult(const DeliverResponseOr& response) {
  if (response.ok()) return DeliveryResult::Delivered("delivered to the maildrop");
  switch (response.status().code()) {
    case absl::StatusCode::kAlreadyExists:
      // This message was delivered here before, by way of another recipient.
      return DeliveryResult::Delivered("delivered to the maildrop before");
    case absl::StatusCode::kResourceExhausted:
      return DeliveryResult::Temporary("4.2.2", "the mailbox is full");
    case absl::StatusCode::kInvalidArgument:
      return DeliveryResult::Permanent("5.6.0", "the mail store does not take this message");
    default:
      return DeliveryResult::Unavailable("the mail store is not available");
  }
}

// What became of a recipient, from what became of each of its mailboxes, and of its part that was
// `forwarded`.
DeliveryResult Together(std::vector<DeliveryResult> mailboxes, bool forwarded) {
  const DeliveryResult::Kind kind =
      forwarded ? DeliveryResult::Kind::kDelivered : mailboxes[0].kind;
  const bool alike = std::all_of(mailboxes.begin(), mailboxes.end(),
                                 [&](const DeliveryResult& result) { return result.kind == kind; });
  if (alike) {
    DeliveryResult result = std::move(mailboxes[0]);
    result.address.clear();
    return result;
  }
  const size_t count = mailboxes.size();
  std::erase_if(mailboxes, [](const DeliveryResult& result) {
    return result.kind == DeliveryResult::Kind::kDelivered;
  });
  DeliveryResult result = DeliveryResult::Delivered(
      absl::StrCat("delivered to ", count - mailboxes.size(), " of ", count,
                   " maildrops; the others are decided one by one"));
  result.members = std::move(mailboxes);
  return result;
}

awaitable<DeliverResponseOr> DeliverWhole(clients::DeliveryClient* store,
                                          const SpooledMessage& message,
                                          store::v1::DeliveryHeader header, MessageBody& body) {
  MessageBody::Reader reader(&body);
  std::unique_ptr<clients::BodyStream<store::v1::DeliverResponse>> stream =
      store->DeliverStream(NewCall(message, kStreamTime), std::move(header));
  while (true) {
    absl::StatusOr<std::shared_ptr<const std::string>> piece = co_await reader.Next();
    if (!piece.ok()) co_return piece.status();
    if (*piece == nullptr) break;
    absl::Status written = co_await async::Await<absl::Status>(
        [&](async::DoneStatus done) { stream->Write(**piece, std::move(done)); });
    // Finish has the reason.
    if (!written.ok()) break;
  }
  co_return co_await async::Await<DeliverResponseOr>(
      [&](async::Done<store::v1::DeliverResponse> done) { stream->Finish(std::move(done)); });
}

awaitable<std::vector<DeliverResponseOr>> DeliverCopies(clients::DeliveryClient* store,
                                                        const SpooledMessage& message,
                                                        const std::vector<Copy>& copies,
                                                        MessageBody& body) {
  std::vector<DeliverResponseOr> responses;
  if (message.octets > kMaxPieceOctets) {
    for (const Copy& copy : copies) {
      responses.push_back(co_await DeliverWhole(store, message, MakeHeader(message, copy), body));
    }
    co_return responses;
  }
  absl::StatusOr<std::shared_ptr<const std::string>> whole = co_await body.FirstPiece();
  if (!whole.ok()) {
    responses.assign(copies.size(), absl::UnavailableError("the spool can't be read"));
    co_return responses;
  }
  co_return co_await async::Gather<store::v1::DeliverResponse>(
      copies.size(), message.octets <= kSmallBodyOctets ? kCallsAtOnce : 1,
      [&](size_t i, async::Done<store::v1::DeliverResponse> done) {
        store::v1::DeliverRequest request;
        *request.mutable_header() = MakeHeader(message, copies[i]);
        request.set_body(**whole);
        store->Deliver(NewCall(message, kDeliverTime), std::move(request), std::move(done));
      });
}

}  // namespace

std::string LocalDeliveryId(absl::string_view queue_id, absl::string_view mailbox_id) {
  constexpr absl::string_view kNul("\0", 1);
  return crypto::Sha256Of(
             absl::StrCat("postern.relay.local-delivery.v2", kNul, queue_id, kNul, mailbox_id))
      .substr(0, 16);
}

awaitable<std::vector<DeliveryResult>> LocalDelivery::Deliver(
    const SpooledMessage& message, const std::string& /*destination*/,
    const std::vector<DeliveryRecipient>& recipients, MessageBody& body) {
  std::vector<Copy> copies;
  absl::flat_hash_map<std::string, size_t> copy_of;
  for (const DeliveryRecipient& recipient : recipients) {
    for (const auth::v1::Mailbox& mailbox : recipient.mailboxes) {
      if (copy_of.emplace(mailbox.mailbox_id(), copies.size()).second) {
        copies.push_back({&recipient, &mailbox});
      }
    }
  }
  const std::vector<DeliverResponseOr> responses =
      co_await DeliverCopies(store_, message, copies, body);
  std::vector<DeliveryResult> results;
  for (const DeliveryRecipient& recipient : recipients) {
    std::vector<DeliveryResult> mailboxes;
    for (const auth::v1::Mailbox& mailbox : recipient.mailboxes) {
      mailboxes.push_back(ToResult(responses[copy_of[mailbox.mailbox_id()]]));
      mailboxes.back().address = mailbox.address();
    }
    // The directory names at least one mailbox of a local recipient.
    results.push_back(mailboxes.empty()
                          ? DeliveryResult::Temporary("4.3.0", "the directory names no mailbox")
                          : Together(std::move(mailboxes), recipient.forwarded));
  }
  co_return results;
}

}  // namespace postern::relay
