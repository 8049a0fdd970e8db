// A delivery to mailboxes of several shards: one transaction each.
#ifndef POSTERN_STORE_SVC_POSTGRESQL_SPREAD_DELIVERY_H_
#define POSTERN_STORE_SVC_POSTGRESQL_SPREAD_DELIVERY_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "store-svc/domain/mail_store.h"
#include "store-svc/domain/room.h"
#include "store-svc/postgresql/delivery_batch.h"
#include "store-svc/postgresql/delivery_queue.h"

namespace postern::store {

// `rooms` are those of its recipients a moment ago: what refuses it in one shard refuses it in all
// (a part that was done before is repeated all the same).
std::vector<std::unique_ptr<PendingDelivery>> SplitByShard(const PendingDelivery& whole,
                                                           absl::Span<const Room> rooms);

// One after the other, so that what fails first leaves nothing behind; blocks. UNAVAILABLE: a later
// part failed; the same delivery_id completes the delivery.
absl::StatusOr<DeliveryResult> DeliverInTurn(DeliveryQueue& queue,
                                             std::vector<std::unique_ptr<PendingDelivery>> parts);

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_POSTGRESQL_SPREAD_DELIVERY_H_
