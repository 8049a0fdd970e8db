// The spool's statements, each on a connection that its caller lends: inside the group's
// transaction when it writes.
#ifndef POSTERN_RELAY_SVC_SQLITE_SPOOL_ROWS_H_
#define POSTERN_RELAY_SVC_SQLITE_SPOOL_ROWS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "relay-svc/domain/spool.h"
#include "services/storage/sqlite/sqlite.h"

namespace postern::relay {

struct EarlierDelivery {
  std::string queue_id;
  std::string digest;
};
absl::StatusOr<std::optional<EarlierDelivery>> FindDelivery(storage::Sqlite& database,
                                                            absl::string_view delivery_id);
// The body must have a reference for it already.
absl::Status InsertMessage(storage::Sqlite& database, const NewMessage& message, int64_t body_id,
                           absl::Time now);
absl::StatusOr<int64_t> CountMessages(storage::Sqlite& database);

struct RecordedOutcome {
  // The message was there.
  bool found = false;
  // It is gone now, since nobody waits for it any more.
  bool removed = false;
};
absl::StatusOr<RecordedOutcome> RecordOutcome(storage::Sqlite& database, const JobOutcome& outcome);
absl::Status ForgetDeliveries(storage::Sqlite& database, absl::Time before);

absl::StatusOr<DuePage> SelectDue(storage::Sqlite& database, absl::Time now, DueCursor after,
                                  int limit);
absl::StatusOr<std::optional<Job>> SelectJob(storage::Sqlite& database, const JobKey& key,
                                             absl::Time now);
absl::StatusOr<std::string> ReadBodyPiece(storage::Sqlite& database, absl::string_view queue_id,
                                          int64_t index);

absl::StatusOr<QueuePage> SelectEntries(storage::Sqlite& database, int page_size,
                                        absl::string_view page_token);
absl::StatusOr<QueueEntry> SelectEntry(storage::Sqlite& database, absl::string_view queue_id);
absl::Status UpdateHeld(storage::Sqlite& database, absl::string_view queue_id, bool held);
absl::Status UpdateDue(storage::Sqlite& database, absl::string_view queue_id, absl::Time now);
absl::Status DeleteMessage(storage::Sqlite& database, absl::string_view queue_id);

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_SQLITE_SPOOL_ROWS_H_
