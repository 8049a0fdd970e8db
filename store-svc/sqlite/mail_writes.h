// The transactions of SqliteMailStore, on a connection inside its owner's transaction.
#ifndef POSTERN_STORE_SVC_SQLITE_MAIL_WRITES_H_
#define POSTERN_STORE_SVC_SQLITE_MAIL_WRITES_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/storage/sqlite/sqlite.h"
#include "store-svc/domain/mail_store.h"
#include "store-svc/sqlite/mail_reads.h"

namespace postern::store {

// Puts the body there with that many references, and says its id.
using PlaceBody = absl::FunctionRef<absl::StatusOr<int64_t>(storage::Sqlite&, int references)>;

// As MailStore::Deliver; `digest` is DeliveryDigest's. All that may refuse it is checked before the
// first change (GroupCommit's cheap way). When it is a repetition, `place_body` is not called.
absl::StatusOr<DeliveryResult> WriteDelivery(storage::Sqlite& database, const Delivery& delivery,
                                             absl::string_view digest, uint64_t body_octets,
                                             const Quota& default_quota, absl::Time now,
                                             PlaceBody place_body);

absl::Status DeleteMessages(storage::Sqlite& database, const MailboxId& mailbox,
                            const std::vector<uint64_t>& uids);

// Sets them down to be deleted: all of them will be, whatever ends in between.
absl::Status BeginDeletion(storage::Sqlite& database, const MailboxId& mailbox,
                           const std::vector<uint64_t>& uids);
// Deletes at most `limit` of those. True: there are more.
absl::StatusOr<bool> ContinueDeletion(storage::Sqlite& database, const MailboxId& mailbox,
                                      size_t limit);
// Where there is something to go on with.
absl::StatusOr<std::vector<MailboxId>> UnfinishedDeletions(storage::Sqlite& database);

// Deletes at most `limit` messages; how many it were.
absl::StatusOr<uint64_t> DeleteSome(storage::Sqlite& database, const MailboxId& mailbox,
                                    size_t limit);

// A mailbox that is not there yet comes into being.
absl::Status WriteQuota(storage::Sqlite& database, const MailboxId& mailbox,
                        const QuotaChange& change, absl::Time now);

absl::StatusOr<size_t> ForgetSomeDeliveries(storage::Sqlite& database, absl::Time before,
                                            size_t limit);

// The next value of the lease epoch.
absl::StatusOr<uint64_t> NextLeaseEpoch(storage::Sqlite& database);

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_SQLITE_MAIL_WRITES_H_
