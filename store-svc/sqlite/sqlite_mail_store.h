// Mail in one SQLite file.
#ifndef POSTERN_STORE_SVC_SQLITE_SQLITE_MAIL_STORE_H_
#define POSTERN_STORE_SVC_SQLITE_SQLITE_MAIL_STORE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "services/process/clock.h"
#include "services/storage/sql/migration.h"
#include "store-svc/domain/mail_store.h"

namespace postern::store {

absl::Span<const storage::Migration> SqliteMailMigrations();

struct SqliteMailStoreOptions {
  std::string file;
  // Every mailbox's, unless its row has its own.
  uint64_t quota_messages = 100000;
  uint64_t quota_octets = 1 << 30;
  // Writes that may wait; one more is UNAVAILABLE.
  size_t max_waiting = 1000;
  // Reads that can run at the same time; one more waits.
  size_t readers = 2;
};

struct OpenedMailStore {
  std::unique_ptr<MailStore> store;
  // For LeaseTable.
  uint64_t lease_epoch = 0;
};

// Opens the file (made when absent), brings its schema up to date, drops what an earlier process
// left unfinished.
absl::StatusOr<OpenedMailStore> OpenSqliteMailStore(const SqliteMailStoreOptions& options,
                                                    process::Clock clock);

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_SQLITE_SQLITE_MAIL_STORE_H_
