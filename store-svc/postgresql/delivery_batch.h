// Deliveries of one shard in one transaction.
#ifndef POSTERN_STORE_SVC_POSTGRESQL_DELIVERY_BATCH_H_
#define POSTERN_STORE_SVC_POSTGRESQL_DELIVERY_BATCH_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/storage/body/piece_codec.h"
#include "services/storage/body/postgresql_bodies.h"
#include "services/storage/postgresql/connection.h"
#include "store-svc/domain/mail_store.h"
#include "store-svc/domain/room.h"

namespace postern::store {

// One on its way.
struct PendingDelivery {
  // Its recipients are in one shard.
  Delivery delivery;
  // DeliveryDigest's.
  std::string digest;
  std::string sha256;
  uint64_t body_octets = 0;
  // The body, unless it is staged in pieces.
  storage::CompressedPiece piece;
  std::optional<storage::StagedKey> staged;
  // Whether the mailboxes have room, when that was decided over several shards: it is not looked at
  // again.
  std::optional<absl::Status> decided;
  // Of the last try.
  absl::StatusOr<DeliveryResult> outcome;
  absl::AnyInvocable<void(absl::StatusOr<DeliveryResult>)> done;

  int32_t shard() const { return delivery.recipients.front().mailbox.shard(); }
};

// Commits a group, in two round trips unless it meets a repetition or a new mailbox, and gives each
// its outcome: done, repeated or refused. The ids are distinct, and a staged body comes alone. An
// error is all of theirs and nothing was done, but for one in COMMIT (UNAVAILABLE): a repeated try
// finds out.
absl::Status CommitDeliveries(storage::postgresql::Connection& connection,
                              absl::Span<PendingDelivery* const> group, const Quota& default_quota,
                              absl::Time now);

// Of a row that begins with mailbox_id, messages, octets, quota_messages, quota_octets.
MailboxUsage UsageOf(const storage::SqlRows& rows, size_t row, const Quota& default_quota);

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_POSTGRESQL_DELIVERY_BATCH_H_
