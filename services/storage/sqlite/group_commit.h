// Group commit: one writer thread, one transaction and one fsync for all writes that wait.
#ifndef POSTERN_SERVICES_STORAGE_SQLITE_GROUP_COMMIT_H_
#define POSTERN_SERVICES_STORAGE_SQLITE_GROUP_COMMIT_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "services/storage/sqlite/sqlite.h"

namespace postern::storage {

// Thread-safe. Owns its writing connection and thread, and a second one that copies the WAL into
// the database while commits go on.
class GroupCommit {
 public:
  // Runs on the writer thread inside the shared transaction: an error rolls back this write alone.
  // Must not begin or commit. May run a second time, when all it did was rolled back (because
  // another write failed half-way), so it must not consume what it captured. Cheapest when it
  // checks all that may refuse it before its first change.
  using Write = absl::AnyInvocable<absl::Status(Sqlite&)>;
  // Runs on the writer thread after the commit is durable (or failed): the write's own status, or,
  // for every write of the group, the commit's (UNAVAILABLE; RESOURCE_EXHAUSTED for a full disk).
  // Must not block. Submit itself runs it at once with UNAVAILABLE when too many wait: it
  // must not submit again then.
  using Done = absl::AnyInvocable<void(absl::Status)>;

  struct Options {
    // Writes that may wait; one more gets UNAVAILABLE at once.
    size_t max_waiting = 1000;
    // Writes of one transaction.
    size_t max_group = 256;
    // The label `database` of the metrics postern_storage_*.
    std::string name = "main";
  };
  GroupCommit(std::unique_ptr<Sqlite> database, Options options);
  // Commits what was accepted, then joins.
  ~GroupCommit();

  void Submit(Write write, Done done);

 private:
  struct Rep;
  std::unique_ptr<Rep> rep_;
};

}  // namespace postern::storage

#endif  // POSTERN_SERVICES_STORAGE_SQLITE_GROUP_COMMIT_H_
