// A service's PostgreSQL database: checked at start, watched while the service runs.
#ifndef POSTERN_SERVICES_STORAGE_POSTGRESQL_DATABASE_H_
#define POSTERN_SERVICES_STORAGE_POSTGRESQL_DATABASE_H_

#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/storage/postgresql/connection.h"
#include "services/storage/postgresql/migrate.h"
#include "services/storage/postgresql/pool.h"

namespace postern::storage::postgresql {

// Thread-safe.
class Database {
 public:
  // INVALID_ARGUMENT or FAILED_PRECONDITION name the setting, and what no waiting mends: a wrong
  // password, a certificate of another name, no database, a schema of another version or service, a
  // server older than 13, one that may lose what it committed. A server that can't be reached is no
  // error here: it is looked for every second, and Ready says so meanwhile.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const config::v1::PostgreSql& config,
                                                        std::string service,
                                                        absl::Span<const Migration> migrations);
  ~Database();

  Pool& pool() { return pool_; }

  // What the last look at the database said, a second ago or so; blocks for nothing.
  absl::Status Ready() const;

 private:
  Database(const config::v1::PostgreSql& config, std::string service,
           absl::Span<const Migration> migrations);
  // Once it is reached: what it is, and what it holds.
  absl::Status Examine();
  void Watch();
  // Whether the server answers, within two seconds; on a connection of its own.
  absl::Status Probe();

  const config::v1::PostgreSql config_;
  const std::string service_;
  const absl::Span<const Migration> migrations_;
  Pool pool_;

  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool examined_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status state_ ABSL_GUARDED_BY(mutex_);
  // Of the watch.
  std::unique_ptr<Connection> probe_;
  std::thread watch_;
};

// A service's CheckConfig: it has either `postgresql` or `database_file`.
absl::Status CheckOneDatabase(bool has_postgresql, bool has_database_file);

// For an operator's command, whose statements may take hours. Errors as Open's, and UNAVAILABLE.
absl::StatusOr<std::unique_ptr<Connection>> Connect(const config::v1::PostgreSql& config,
                                                    absl::string_view service);

// `<service> migrate` with a database_file.
absl::Status NothingToMigrate();

// `<service> migrate`: says what it did, for people.
absl::StatusOr<std::string> MigrateDatabase(const config::v1::PostgreSql& config,
                                            absl::string_view service,
                                            absl::Span<const Migration> migrations);

}  // namespace postern::storage::postgresql

#endif  // POSTERN_SERVICES_STORAGE_POSTGRESQL_DATABASE_H_
