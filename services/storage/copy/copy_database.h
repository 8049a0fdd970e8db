// `<service> copy-database`: moves what a service has from SQLite to PostgreSQL, or back, all of it
// or nothing, and compares every row before it counts.
#ifndef POSTERN_SERVICES_STORAGE_COPY_COPY_DATABASE_H_
#define POSTERN_SERVICES_STORAGE_COPY_COPY_DATABASE_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/storage/copy/description.h"

namespace postern::storage::copy {

// Where a service's data is.
struct Place {
  // Of SQLite, unless it is in PostgreSQL.
  std::string file;
  // nullptr: it is not.
  const config::v1::PostgreSql* postgresql = nullptr;
};

// Of a service's configuration, which must outlive it.
template <typename Config>
Place PlaceOf(const Config& config) {
  if (config.has_postgresql()) return {"", &config.postgresql()};
  return {config.database_file()};
}

// Copies, compares, commits; the number of rows of each table, a line each. `say` is told what it
// is at. Memory is bounded by rows and a body's pieces. After an error, or when the process ends
// meanwhile, the destination has nothing and the source is as it was. INVALID_ARGUMENT: both places
// are of one kind. FAILED_PRECONDITION, UNAVAILABLE: one of them is not what a copy needs (side.h).
// DATA_LOSS names the first row or body that is not the same on both sides, or whose content is not
// what its hash says.
absl::StatusOr<std::string> CopyDatabase(const Database& database, const Place& from,
                                         const Place& to,
                                         absl::FunctionRef<void(absl::string_view)> say);

}  // namespace postern::storage::copy

#endif  // POSTERN_SERVICES_STORAGE_COPY_COPY_DATABASE_H_
