#include "relay-svc/domain/local_delivery.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "openssl/sha.h"
#include "services/async/await.h"
#include "services/async/gather.h"

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

rpc::CallContext NewCall(absl::Duration time) {
  return {.trace = rpc::TraceContext::New(), .deadline = absl::Now() + time};
}

// The same with each mailbox where it stands first: whoever is reached in several ways gets one
// copy.
std::vector<DeliveryRecipient> WithoutRepeats(std::vector<DeliveryRecipient> recipients) {
  absl::flat_hash_set<std::string> seen;
  for (DeliveryRecipient& recipient : recipients) {
    std::erase_if(recipient.mailboxes, [&seen](const auth::v1::Mailbox& mailbox) {
      return !seen.insert(mailbox.mailbox_id()).second;
    });
  }
  return recipients;
}

store::v1::DeliveryHeader MakeHeader(const SpooledMessage& message,
                                     const DeliveryRecipient& recipient) {
  store::v1::DeliveryHeader header;
  header.set_delivery_id(LocalDeliveryId(message.queue_id, recipient.address));
  header.set_envelope_sender(message.sender);
  for (const auth::v1::Mailbox& mailbox : recipient.mailboxes) {
    store::v1::DeliveryRecipient* to = header.add_recipients();
    to->set_mailbox_id(mailbox.mailbox_id());
    to->set_address(mailbox.address());
    to->set_original_recipient(recipient.address);
  }
  return header;
}

DeliveryResult ToResult(const DeliverResponseOr& response) {
  if (response.ok()) return DeliveryResult::Delivered("delivered to the maildrop");
  switch (response.status().code()) {
    case absl::StatusCode::kAlreadyExists:
      // This recipient of this message was delivered to, when the recipient led elsewhere.
      return DeliveryResult::Delivered("delivered to the maildrop before");
    case absl::StatusCode::kResourceExhausted:
      return DeliveryResult::Temporary("4.2.2", "the mailbox is full");
    case absl::StatusCode::kInvalidArgument:
      return DeliveryResult::Permanent("5.6.0", "the mail store does not take this message");
    default:
      return DeliveryResult::Temporary("4.3.0", "the mail store is not available");
  }
}

// Of a recipient whose mailboxes others of the same message lead to.
DeliveryResult AnotherWay() {
  return DeliveryResult::Delivered("delivered to the maildrop of another recipient");
}

awaitable<DeliverResponseOr> DeliverWhole(clients::DeliveryClient* store,
                                          store::v1::DeliveryHeader header, MessageBody& body) {
  MessageBody::Reader reader(&body);
  std::unique_ptr<clients::BodyStream<store::v1::DeliverResponse>> stream =
      store->DeliverStream(NewCall(kStreamTime), std::move(header));
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

}  // namespace

std::string LocalDeliveryId(absl::string_view queue_id, absl::string_view recipient) {
  const std::string name =
      absl::StrCat("postern.relay.local-delivery.v1", absl::string_view("\0", 1), queue_id,
                   absl::string_view("\0", 1), recipient);
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(name.data()), name.size(), digest);
  return std::string(reinterpret_cast<const char*>(digest), 16);
}

awaitable<std::vector<DeliveryResult>> LocalDelivery::Deliver(
    const SpooledMessage& message, const std::string& /*destination*/,
    const std::vector<DeliveryRecipient>& all_recipients, MessageBody& body) {
  const std::vector<DeliveryRecipient> recipients = WithoutRepeats(all_recipients);
  std::vector<DeliveryResult> results;
  if (message.octets > kMaxPieceOctets) {
    for (const DeliveryRecipient& recipient : recipients) {
      if (recipient.mailboxes.empty()) {
        results.push_back(AnotherWay());
        continue;
      }
      const DeliverResponseOr response =
          co_await DeliverWhole(store_, MakeHeader(message, recipient), body);
      results.push_back(ToResult(response));
    }
    co_return results;
  }
  absl::StatusOr<std::shared_ptr<const std::string>> whole = co_await body.FirstPiece();
  if (!whole.ok()) {
    results.assign(recipients.size(),
                   DeliveryResult::Temporary("4.3.0", "the spool can't be read"));
    co_return results;
  }
  std::vector<DeliverResponseOr> responses = co_await async::Gather<store::v1::DeliverResponse>(
      recipients.size(), message.octets <= kSmallBodyOctets ? kCallsAtOnce : 1,
      [&](size_t i, async::Done<store::v1::DeliverResponse> done) {
        if (recipients[i].mailboxes.empty()) {
          done(store::v1::DeliverResponse());
          return;
        }
        store::v1::DeliverRequest request;
        *request.mutable_header() = MakeHeader(message, recipients[i]);
        request.set_body(**whole);
        store_->Deliver(NewCall(kDeliverTime), std::move(request), std::move(done));
      });
  for (size_t i = 0; i < responses.size(); ++i) {
    results.push_back(recipients[i].mailboxes.empty() ? AnotherWay() : ToResult(responses[i]));
  }
  co_return results;
}

}  // namespace postern::relay
