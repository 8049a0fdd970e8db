#include "store-svc/domain/delivery_rules.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "services/crypto/sha256.h"

namespace postern::store {

std::string DeliveryDigest(const Delivery& delivery, absl::string_view body_sha256) {
  crypto::Sha256 hash;
  for (const Recipient& recipient : delivery.recipients) {
    // An id without a shard has one length, and has been digested so from the beginning.
    if (recipient.mailbox.shard() == 0) {
      hash.Update(recipient.mailbox.octets());
    } else {
      hash.Field(recipient.mailbox.octets());
    }
    hash.Field(recipient.prefix);
  }
  hash.Update(body_sha256);
  return hash.Finish();
}

Room RoomOf(const MailboxUsage& usage) {
  if (usage.messages / 2 >= usage.quota_messages || usage.octets / 2 >= usage.quota_octets) {
    return Room::kTwiceFull;
  }
  return usage.messages >= usage.quota_messages || usage.octets >= usage.quota_octets ? Room::kFull
                                                                                      : Room::kFree;
}

absl::Status CheckRoom(const Delivery& delivery, absl::Span<const Room> rooms) {
  const auto refused = [](absl::Span<const Room> together) {
    const std::vector<bool> refuses = WhoRefuses(together);
    return std::find(refuses.begin(), refuses.end(), true) != refuses.end();
  };
  const absl::Status full = absl::ResourceExhaustedError("a mailbox is over its quota");
  if (delivery.leads_to.empty()) {
    for (const Room& room : rooms) {
      if (refused(absl::MakeConstSpan(&room, 1))) return full;
    }
  }
  std::vector<Room> together;
  for (const std::vector<size_t>& places : delivery.leads_to) {
    together.clear();
    for (const size_t place : places) together.push_back(rooms[place]);
    if (refused(together)) return full;
  }
  return absl::OkStatus();
}

std::vector<MailboxId> WhoIsFull(absl::Span<const MailboxId> ids, absl::Span<const Room> rooms) {
  const std::vector<bool> refuses = WhoRefuses(rooms);
  std::vector<MailboxId> full;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (refuses[i]) full.push_back(ids[i]);
  }
  return full;
}

absl::Status OtherContents() {
  return absl::AlreadyExistsError("the delivery_id was used for other contents");
}

absl::Status WithoutFullDisk(const absl::Status& status) {
  return absl::IsResourceExhausted(status) ? absl::FailedPreconditionError(status.message())
                                           : status;
}

}  // namespace postern::store
