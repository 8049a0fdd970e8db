#include "store-svc/postgresql/delivery_batch.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "services/storage/postgresql/array.h"
#include "store-svc/domain/delivery_rules.h"

namespace postern::store {
namespace {

using storage::SqlRows;
using storage::SqlValue;
using storage::postgresql::Array;
using storage::postgresql::Connection;
using storage::postgresql::Statement;

// Locks are taken in one order by every transaction, each list sorted: delivery id, lease, mailbox,
// body (docs/adr/0036).

// Waits for a transaction that has claimed one of them; those it committed are not returned.
constexpr char kClaimIds[] =
    "INSERT INTO delivery (shard, delivery_id, digest, committed_at) "
    "SELECT $1, id, digest, $4 FROM unnest($2::bytea[], $3::bytea[]) AS claimed (id, digest) "
    "ON CONFLICT (shard, delivery_id) DO NOTHING RETURNING delivery_id";
constexpr char kReadDigests[] =
    "SELECT delivery_id, digest FROM delivery WHERE shard = $1 AND delivery_id = ANY($2::bytea[])";
constexpr char kReleaseIds[] =
    "DELETE FROM delivery WHERE shard = $1 AND delivery_id = ANY($2::bytea[])";
constexpr char kLockMailboxes[] =
    "SELECT mailbox_id, messages, octets, quota_messages, quota_octets, uid_next FROM mailbox "
    "WHERE shard = $1 AND mailbox_id = ANY($2::bytea[]) ORDER BY mailbox_id FOR UPDATE";
constexpr char kMakeMailboxes[] =
    "INSERT INTO mailbox (shard, mailbox_id, uid_validity, uid_next, messages, octets) "
    "SELECT $1, id, $3, 1, 0, 0 FROM unnest($2::bytea[]) AS id "
    "ON CONFLICT (shard, mailbox_id) DO NOTHING";
constexpr char kCountIn[] =
    "UPDATE mailbox m SET uid_next = c.uid_next, messages = c.messages, octets = c.octets "
    "FROM unnest($2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[]) "
    "AS c (mailbox_id, uid_next, messages, octets) "
    "WHERE m.shard = $1 AND m.mailbox_id = c.mailbox_id";
constexpr char kAddMessages[] =
    "INSERT INTO message (shard, mailbox_id, uid, sha256, octets, prefix) "
    "SELECT $1, mailbox_id, uid, sha256, octets, prefix "
    "FROM unnest($2::bytea[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bytea[]) "
    "AS m (mailbox_id, uid, sha256, octets, prefix)";

class Batch {
 public:
  Batch(Connection& connection, absl::Span<PendingDelivery* const> group,
        const Quota& default_quota, absl::Time now)
      : connection_(connection),
        group_(group),
        shard_(SqlValue::Int(group.front()->shard())),
        default_quota_(default_quota),
        now_(SqlValue::Int(absl::ToUnixSeconds(now))) {}

  absl::Status Commit() {
    if (absl::Status status = Claim(); !status.ok()) return status;
    if (absl::Status status = LookCloser(); !status.ok()) return status;
    for (PendingDelivery* pending : group_) {
      pending->outcome = Decide(*pending);
      if (absl::IsAborted(pending->outcome.status())) return pending->outcome.status();
    }
    return Write();
  }

 private:
  struct Mailbox {
    MailboxUsage usage;
    uint64_t uid_next = 0;
    bool changed = false;
  };
  bool staged() const { return group_.front()->staged.has_value(); }

  // Ids, and the mailboxes that are there.
  absl::Status Claim() {
    std::vector<const PendingDelivery*> by_id(group_.begin(), group_.end());
    std::sort(by_id.begin(), by_id.end(), [](const auto* a, const auto* b) {
      return a->delivery.delivery_id < b->delivery.delivery_id;
    });
    Array ids = Array::Bytea();
    Array digests = Array::Bytea();
    for (const PendingDelivery* pending : by_id) {
      ids.Add(pending->delivery.delivery_id);
      digests.Add(pending->digest);
    }
    absl::flat_hash_set<absl::string_view> seen;
    Array wanted = Array::Bytea();
    for (const PendingDelivery* pending : group_) {
      for (const Recipient& recipient : pending->delivery.recipients) {
        if (seen.insert(recipient.mailbox.octets()).second) wanted.Add(recipient.mailbox.octets());
      }
    }
    std::vector<Statement> statements = {
        {"BEGIN", {}},
        {kClaimIds, {shard_, ids.value(), digests.value(), now_}},
        {kLockMailboxes, {shard_, wanted.value()}},
    };
    if (staged()) statements.push_back(storage::LockStaged(*group_.front()->staged));
    auto answers = connection_.RunAll(statements);
    if (!answers.ok()) return answers.status();
    if (staged() && answers->back()->size() == 0) {
      return storage::PiecesExpired();
    }
    const SqlRows& claimed = *(*answers)[1];
    for (size_t row = 0; row < claimed.size(); ++row) {
      claimed_.insert(std::string(claimed.Octets(row, 0)));
    }
    TakeMailboxes(*(*answers)[2]);
    return absl::OkStatus();
  }

  // What stands behind the ids that were there, and the mailboxes that were not.
  absl::Status LookCloser() {
    Array known = Array::Bytea();
    Array missing = Array::Bytea();
    std::vector<absl::string_view> fresh;
    for (const PendingDelivery* pending : group_) {
      if (!claimed_.contains(pending->delivery.delivery_id)) {
        known.Add(pending->delivery.delivery_id);
        continue;
      }
      for (const Recipient& recipient : pending->delivery.recipients) {
        if (!mailboxes_.contains(recipient.mailbox)) fresh.push_back(recipient.mailbox.octets());
      }
    }
    std::sort(fresh.begin(), fresh.end());
    fresh.erase(std::unique(fresh.begin(), fresh.end()), fresh.end());
    for (const absl::string_view id : fresh) missing.Add(id);
    std::vector<Statement> statements;
    if (missing.size() > 0) {
      statements.push_back({kMakeMailboxes, {shard_, missing.value(), now_}});
      statements.push_back({kLockMailboxes, {shard_, missing.value()}});
    }
    if (known.size() > 0) statements.push_back({kReadDigests, {shard_, known.value()}});
    if (statements.empty()) return absl::OkStatus();
    auto answers = connection_.RunAll(statements);
    if (!answers.ok()) return answers.status();
    if (missing.size() > 0) TakeMailboxes(*(*answers)[1]);
    if (known.size() > 0) {
      const SqlRows& digests = *answers->back();
      for (size_t row = 0; row < digests.size(); ++row) {
        digests_.emplace(digests.Octets(row, 0), digests.Octets(row, 1));
      }
    }
    return absl::OkStatus();
  }

  void TakeMailboxes(const SqlRows& rows) {
    for (size_t row = 0; row < rows.size(); ++row) {
      MailboxUsage usage = UsageOf(rows, row, default_quota_);
      const MailboxId id = usage.mailbox;
      mailboxes_.emplace(id,
                         Mailbox{std::move(usage), static_cast<uint64_t>(rows.Int(row, 5)), false});
    }
  }

  std::vector<Room> RoomsOf(const Delivery& delivery) const {
    std::vector<Room> rooms;
    for (const Recipient& recipient : delivery.recipients) {
      rooms.push_back(RoomOf(mailboxes_.at(recipient.mailbox).usage));
    }
    return rooms;
  }

  absl::StatusOr<DeliveryResult> Decide(PendingDelivery& pending) {
    const Delivery& delivery = pending.delivery;
    if (!claimed_.contains(delivery.delivery_id)) {
      auto digest = digests_.find(delivery.delivery_id);
      // Forgotten between the two questions.
      if (digest == digests_.end()) return absl::AbortedError("the delivery_id went");
      if (digest->second != pending.digest) return OtherContents();
      return DeliveryResult{.repeated = true};
    }
    const absl::Status room =
        pending.decided.has_value() ? *pending.decided : CheckRoom(delivery, RoomsOf(delivery));
    if (!room.ok()) {
      released_.Add(delivery.delivery_id);
      return room;
    }
    for (const Recipient& recipient : delivery.recipients) {
      Mailbox& mailbox = mailboxes_.at(recipient.mailbox);
      const uint64_t octets = recipient.prefix.size() + pending.body_octets;
      to_.Add(recipient.mailbox.octets());
      uids_.Add(static_cast<int64_t>(mailbox.uid_next++));
      hashes_.Add(pending.sha256);
      octets_.Add(static_cast<int64_t>(octets));
      prefixes_.Add(recipient.prefix);
      ++mailbox.usage.messages;
      mailbox.usage.octets += octets;
      mailbox.changed = true;
    }
    bodies_.Add(pending.sha256, pending.piece, static_cast<int64_t>(delivery.recipients.size()));
    return DeliveryResult{};
  }

  absl::Status Write() {
    Array ids = Array::Bytea();
    Array uid_next = Array::Bigint();
    Array messages = Array::Bigint();
    Array octets = Array::Bigint();
    for (const auto& [id, mailbox] : mailboxes_) {
      if (!mailbox.changed) continue;
      ids.Add(id.octets());
      uid_next.Add(static_cast<int64_t>(mailbox.uid_next));
      messages.Add(static_cast<int64_t>(mailbox.usage.messages));
      octets.Add(static_cast<int64_t>(mailbox.usage.octets));
    }
    std::vector<Statement> statements;
    if (to_.size() > 0) {
      statements.push_back(
          {kCountIn, {shard_, ids.value(), uid_next.value(), messages.value(), octets.value()}});
      if (staged()) {
        const PendingDelivery& one = *group_.front();
        storage::AppendAddStaged(*one.staged, one.sha256,
                                 static_cast<int64_t>(one.delivery.recipients.size()), &statements);
      } else {
        bodies_.AppendTo(&statements);
      }
      statements.push_back({kAddMessages,
                            {shard_, to_.value(), uids_.value(), hashes_.value(), octets_.value(),
                             prefixes_.value()}});
    }
    if (released_.size() > 0) statements.push_back({kReleaseIds, {shard_, released_.value()}});
    statements.push_back({"COMMIT", {}});
    return connection_.RunAll(statements).status();
  }

  Connection& connection_;
  const absl::Span<PendingDelivery* const> group_;
  const SqlValue shard_;
  const Quota default_quota_;
  const SqlValue now_;

  absl::flat_hash_set<std::string> claimed_;
  absl::flat_hash_map<std::string, std::string> digests_;
  absl::flat_hash_map<MailboxId, Mailbox> mailboxes_;
  storage::BodyChanges bodies_{group_.front()->shard()};

  // The rows of message.
  Array to_ = Array::Bytea();
  Array uids_ = Array::Bigint();
  Array hashes_ = Array::Bytea();
  Array octets_ = Array::Bigint();
  Array prefixes_ = Array::Bytea();
  // Ids of what is refused.
  Array released_ = Array::Bytea();
};

}  // namespace

absl::Status CommitDeliveries(Connection& connection, absl::Span<PendingDelivery* const> group,
                              const Quota& default_quota, absl::Time now) {
  return Batch(connection, group, default_quota, now).Commit();
}

MailboxUsage UsageOf(const SqlRows& rows, size_t row, const Quota& default_quota) {
  const auto number = [&](int column, uint64_t absent) {
    return rows.IsNull(row, column) ? absent : static_cast<uint64_t>(rows.Int(row, column));
  };
  return {MailboxId::FromOctets(rows.Octets(row, 0)), number(1, 0), number(2, 0),
          number(3, default_quota.messages), number(4, default_quota.octets)};
}

}  // namespace postern::store
