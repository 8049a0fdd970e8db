#include "store-svc/postgresql/spread_delivery.h"

#include <cstdint>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "store-svc/domain/delivery_rules.h"

namespace postern::store {
std::vector<std::unique_ptr<PendingDelivery>> SplitByShard(const PendingDelivery& whole,
                                                           absl::Span<const Room> rooms) {
  const absl::Status refused = CheckRoom(whole.delivery, rooms);
  std::map<int32_t, std::unique_ptr<PendingDelivery>> parts;
  for (const Recipient& recipient : whole.delivery.recipients) {
    std::unique_ptr<PendingDelivery>& part = parts[recipient.mailbox.shard()];
    if (part == nullptr) {
      part = std::make_unique<PendingDelivery>();
      part->delivery.delivery_id = whole.delivery.delivery_id;
      part->sha256 = whole.sha256;
      part->body_octets = whole.body_octets;
      part->piece = whole.piece;
      part->staged = whole.staged;
      part->decided = refused;
    }
    part->delivery.recipients.push_back(recipient);
  }
  std::vector<std::unique_ptr<PendingDelivery>> in_order;
  for (auto& [shard, part] : parts) {
    part->digest = DeliveryDigest(part->delivery, part->sha256);
    in_order.push_back(std::move(part));
  }
  return in_order;
}

absl::StatusOr<DeliveryResult> DeliverInTurn(DeliveryQueue& queue,
                                             std::vector<std::unique_ptr<PendingDelivery>> parts) {
  DeliveryResult whole{.repeated = true};
  int delivered = 0;
  for (std::unique_ptr<PendingDelivery>& part : parts) {
    absl::Notification done;
    absl::StatusOr<DeliveryResult> result;
    part->done = [&](absl::StatusOr<DeliveryResult> outcome) {
      result = std::move(outcome);
      done.Notify();
    };
    queue.Submit(std::move(part));
    done.WaitForNotification();
    if (!result.ok() && delivered == 0) return result;
    if (!result.ok()) {
      return absl::UnavailableError(absl::StrCat("delivered to ", delivered, " of ", parts.size(),
                                                 " shards, then: ", result.status().message()));
    }
    ++delivered;
    whole.repeated &= result->repeated;
  }
  return whole;
}

}  // namespace postern::store
