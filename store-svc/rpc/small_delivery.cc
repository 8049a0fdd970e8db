#include "store-svc/rpc/small_delivery.h"

#include <utility>

#include "store-svc/rpc/delivery_outcome.h"
#include "store-svc/rpc/delivery_request.h"

namespace postern::store {
namespace {

absl::StatusOr<Delivery> Parse(const v1::DeliverRequest& request, uint64_t max_message_octets) {
  absl::StatusOr<Delivery> delivery = ParseDeliveryHeader(request.header());
  if (!delivery.ok()) return delivery;
  if (request.body().size() > kMaxPieceOctets) {
    return absl::InvalidArgumentError("a body over 256 KiB is streamed");
  }
  if (request.body().size() > max_message_octets) {
    return absl::InvalidArgumentError("the message is too large");
  }
  return delivery;
}

}  // namespace

void DeliverSmall(MailStore* store, uint64_t max_message_octets, const v1::DeliverRequest& request,
                  rpc::CallContext call,
                  absl::AnyInvocable<void(absl::StatusOr<DeliveryResult>)> done) {
  const size_t octets = request.body().size();
  absl::StatusOr<Delivery> delivery = Parse(request, max_message_octets);
  if (!delivery.ok()) {
    RecordDelivery(call, delivery.status(), request.header().recipients_size(), octets);
    std::move(done)(delivery.status());
    return;
  }
  const size_t recipients = delivery->recipients.size();
  store->Deliver(*std::move(delivery), request.body(),
                 [recipients, octets, call = std::move(call),
                  done = std::move(done)](absl::StatusOr<DeliveryResult> result) mutable {
                   RecordDelivery(call, result, recipients, octets);
                   std::move(done)(std::move(result));
                 });
}

}  // namespace postern::store
