// The queries of SqliteMailStore, on any connection.
#ifndef POSTERN_STORE_SVC_SQLITE_MAIL_READS_H_
#define POSTERN_STORE_SVC_SQLITE_MAIL_READS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/storage/sqlite/sqlite.h"
#include "store-svc/domain/mail_store.h"
#include "store-svc/domain/room.h"

namespace postern::store {

// A mailbox that does not exist has room.
absl::StatusOr<Room> ReadRoom(storage::Sqlite& database, const MailboxId& mailbox,
                              const Quota& quota);

// As MailStore's.
absl::StatusOr<ListingStart> ReadListingStart(storage::Sqlite& database, const MailboxId& mailbox,
                                              size_t limit);
absl::StatusOr<std::vector<MessageEntry>> ReadEntries(storage::Sqlite& database,
                                                      const MailboxId& mailbox, uint64_t after_uid,
                                                      uint64_t before_uid, size_t limit);
absl::StatusOr<StoredMessage> ReadMessage(storage::Sqlite& database, const MailboxId& mailbox,
                                          uint64_t uid);
absl::StatusOr<WholeMessages> ReadWholeMessages(storage::Sqlite& database, const MailboxId& mailbox,
                                                uint64_t uid, uint64_t before_uid, size_t limit,
                                                uint64_t max_octets);
absl::StatusOr<MailboxUsage> ReadUsage(storage::Sqlite& database, const MailboxId& mailbox,
                                       const Quota& quota);
absl::StatusOr<std::vector<MailboxUsage>> ReadUsages(storage::Sqlite& database,
                                                     const std::optional<MailboxId>& after,
                                                     size_t limit, const Quota& quota);

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_SQLITE_MAIL_READS_H_
