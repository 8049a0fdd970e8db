// What holds for a delivery, whatever database it goes into.
#ifndef POSTERN_STORE_SVC_DOMAIN_DELIVERY_RULES_H_
#define POSTERN_STORE_SVC_DOMAIN_DELIVERY_RULES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "store-svc/domain/mail_store.h"
#include "store-svc/domain/room.h"

namespace postern::store {

// What its delivery_id stands for.
std::string DeliveryDigest(const Delivery& delivery, absl::string_view body_sha256);

Room RoomOf(const MailboxUsage& usage);

// RESOURCE_EXHAUSTED: a recipient of the envelope is refused. `rooms` are those of
// delivery.recipients.
absl::Status CheckRoom(const Delivery& delivery, absl::Span<const Room> rooms);

// Those of one recipient's mailboxes that refuse it.
std::vector<MailboxId> WhoIsFull(absl::Span<const MailboxId> ids, absl::Span<const Room> rooms);

// ALREADY_EXISTS: a delivery_id stands for something else.
absl::Status OtherContents();

// What those who deliver are told: to them RESOURCE_EXHAUSTED is a quota, and a full disk
// FAILED_PRECONDITION.
absl::Status WithoutFullDisk(const absl::Status& status);

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_DOMAIN_DELIVERY_RULES_H_
