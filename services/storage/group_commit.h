// Group commit: one writer thread, one transaction and one fsync for all writes that wait.
#ifndef POSTERN_SERVICES_STORAGE_GROUP_COMMIT_H_
#define POSTERN_SERVICES_STORAGE_GROUP_COMMIT_H_

#include <cstddef>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "services/storage/sqlite.h"

namespace postern::storage {

// Thread-safe. Owns its writing connection and thread.
class GroupCommit {
 public:
  // Runs on the writer thread inside a savepoint of the shared transaction: an error rolls back
  // this write alone. Must not begin or commit.
  using Write = absl::AnyInvocable<absl::Status(Sqlite&)>;
  // Runs on the writer thread after the commit is durable (or failed): the write's own status, or
  // the commit's. Must not block.
  using Done = absl::AnyInvocable<void(absl::Status)>;

  struct Options {
    // Writes that may wait; one more gets RESOURCE_EXHAUSTED at once.
    size_t max_waiting = 1000;
    // Writes of one transaction.
    size_t max_group = 256;
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

#endif  // POSTERN_SERVICES_STORAGE_GROUP_COMMIT_H_
