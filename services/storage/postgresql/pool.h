// A bounded number of connections to one database, made when they are wanted.
#ifndef POSTERN_SERVICES_STORAGE_POSTGRESQL_POOL_H_
#define POSTERN_SERVICES_STORAGE_POSTGRESQL_POOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/process/worker_pool.h"
#include "services/storage/postgresql/connection.h"

namespace postern::storage::postgresql {

enum class Access { kRead, kWrite };

// Thread-safe. A connection that broke is not lent again; when it broke after a silence, everything
// returns UNAVAILABLE at once for a second: those that queue up don't wait one after the other.
// While there are some, further ones are made in the background, so that nobody who could have one
// of those soon waits for a server, or a DNS, that does not answer.
class Pool {
 public:
  struct Options {
    size_t max_connections = 4;
    // For one to become free; then UNAVAILABLE.
    absl::Duration patience = absl::Seconds(1);
  };
  Pool(Server server, Options options)
      : server_(std::move(server)), options_(options), grower_(/*threads=*/1, /*max_waiting=*/1) {}

  // Runs `body` in a transaction: committed and durable when it returns OK; an error of `body`
  // undoes all of it. A reader's sees one snapshot. UNAVAILABLE also
  // when all connections are in use. ABORTED: lost against another transaction, even after several
  // attempts: `body` runs once more for each, so it must not keep what it read. After UNAVAILABLE a
  // write may have been committed.
  absl::Status Transact(Access access, absl::FunctionRef<absl::Status(Sql&)> body);

  // One statement that only reads, in a snapshot and a round trip of its own.
  absl::StatusOr<std::unique_ptr<SqlRows>> Query(absl::string_view sql,
                                                 absl::Span<const SqlValue> values);

  enum class OnBreak { kFail, kRepeat };
  // One statement, a transaction of its own; how many rows it changed. As Lend.
  absl::StatusOr<int64_t> Change(OnBreak on_break, absl::string_view sql,
                                 absl::Span<const SqlValue> values);

  // Lends a connection, for what Transact is too slow for. `body` runs again when it lost against
  // another transaction (ABORTED), and once more when its connection turned out to be broken, if it
  // may: not after a long silence, which the next try would meet too. What it leaves open is
  // undone.
  absl::Status Lend(OnBreak on_break, absl::FunctionRef<absl::Status(Connection&)> body);

  // What everything returns at once, those too that wait for a connection, while the database is
  // known to be away: nobody waits for it.
  void SetState(const absl::Status& state);

 private:
  absl::StatusOr<std::unique_ptr<Connection>> Take();
  void Return(std::unique_ptr<Connection> connection);
  void Grow();
  bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return connected_ + opening_ < options_.max_connections;
  }
  // There is none to wait for.
  bool IsToOpen() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return connected_ == 0 && HasRoom();
  }
  bool WaitIsOver() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !state_.ok() || !idle_.empty() || IsToOpen();
  }

  const Server server_;
  const Options options_;
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<Connection>> idle_ ABSL_GUARDED_BY(mutex_);
  absl::Status state_ ABSL_GUARDED_BY(mutex_);
  // After a connection broke that was waited for.
  absl::Time silent_until_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  // Lent and idle.
  size_t connected_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t opening_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  bool growing_ ABSL_GUARDED_BY(mutex_) = false;
  // Of the last one in the background.
  absl::Status growth_ ABSL_GUARDED_BY(mutex_);
  // Last: what it runs uses the rest.
  process::WorkerPool grower_;
};

}  // namespace postern::storage::postgresql

#endif  // POSTERN_SERVICES_STORAGE_POSTGRESQL_POOL_H_
