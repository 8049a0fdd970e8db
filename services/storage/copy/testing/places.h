// For tests of what a service copies: places to copy from and to, and what holds for every service.
#ifndef POSTERN_SERVICES_STORAGE_COPY_TESTING_PLACES_H_
#define POSTERN_SERVICES_STORAGE_COPY_TESTING_PLACES_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/storage/copy/copy_database.h"
#include "services/storage/copy/description.h"
#include "services/storage/postgresql/connection.h"

namespace postern::storage::copy {

// A file's name in a folder of its own; there is no such file yet.
std::string NewFile();

// A database on the test server. `database` and what it views must outlive it.
class TestDatabase {
 public:
  enum class Schema { kNone, kThere };
  explicit TestDatabase(const Database& database, Schema schema = Schema::kThere);

  Place place() const { return {"", &config_}; }
  const postgresql::Server& server() const { return server_; }
  // SQL of its owner, which must work.
  void Execute(absl::string_view sql) const;
  // Whether a table of the description has rows.
  bool IsEmpty() const;

 private:
  const Database& database_;
  const postgresql::Server server_;
  const config::v1::PostgreSql config_;
};

// Copies, saying nothing.
absl::StatusOr<std::string> Copy(const Database& database, const Place& from, const Place& to);

// Every column of the newest schemas is named by the description's SQL, or is among `left_out`
// ("table" or "table.column", of either database): a new one can't be forgotten.
void ExpectNothingForgotten(const Database& database,
                            const std::vector<absl::string_view>& left_out);

// What is no place for a copy is refused, by name, and left as it was. Both places are of the
// newest schema and have rows.
void ExpectRefusals(const Database& database, const Place& filled_file,
                    const TestDatabase& filled_database);

// A process that is killed with all written and half of it compared leaves nothing that counts, and
// the next copy works.
void ExpectInterruptionLeavesNothing(const Database& database, const Place& filled_file,
                                     const TestDatabase& filled_database);

}  // namespace postern::storage::copy

#endif  // POSTERN_SERVICES_STORAGE_COPY_TESTING_PLACES_H_
