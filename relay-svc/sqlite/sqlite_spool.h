// The spool in one SQLite file.
#ifndef POSTERN_RELAY_SVC_SQLITE_SQLITE_SPOOL_H_
#define POSTERN_RELAY_SVC_SQLITE_SQLITE_SPOOL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "relay-svc/domain/spool.h"
#include "services/process/clock.h"
#include "services/storage/sql/migration.h"

namespace postern::relay {

absl::Span<const storage::Migration> SqliteSpoolMigrations();

struct SqliteSpoolOptions {
  int64_t max_messages = 100000;
  // Writes that may wait for the next commit.
  size_t max_waiting_writes = 1000;
  int read_threads = 2;
  process::Clock clock = process::SystemClock();
};

// Makes the file or brings its schema to the newest version; drops what an earlier process left
// unfinished.
absl::StatusOr<std::unique_ptr<Spool>> OpenSqliteSpool(const std::string& file,
                                                       const SqliteSpoolOptions& options);

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_SQLITE_SQLITE_SPOOL_H_
