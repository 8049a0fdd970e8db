// The two sides of a copy, whichever database each is.
#ifndef POSTERN_SERVICES_STORAGE_COPY_SIDE_H_
#define POSTERN_SERVICES_STORAGE_COPY_SIDE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/storage/body/piece_codec.h"
#include "services/storage/copy/description.h"
#include "services/storage/sql/sql.h"

namespace postern::storage::copy {

// The rows of a table, one after the other, in the order of its key.
class RowReader {
 public:
  virtual ~RowReader() = default;
  // False: there are no more; then it is not called again.
  virtual absl::StatusOr<bool> Next() = 0;
  // A value for each column. Views live until the next Next.
  virtual absl::Span<const SqlValue> row() const = 0;
};

// Bodies in the order of their hashes. One that PostgreSQL keeps in several shards comes as often.
class BodyReader {
 public:
  virtual ~BodyReader() = default;
  // False: there are no more; then it is not called again.
  virtual absl::StatusOr<bool> Next() = 0;
  virtual absl::string_view sha256() const = 0;
  virtual int64_t references() const = 0;
  // The next piece of this body, as it is stored; nullopt behind the last, once.
  virtual absl::StatusOr<std::optional<CompressedPiece>> NextPiece() = 0;
};

// One thread. A reader ends before the next of the same table begins, and before its side.
class Side {
 public:
  virtual ~Side() = default;
  // For people.
  virtual std::string name() const = 0;
  virtual absl::StatusOr<std::unique_ptr<RowReader>> Read(const Table& table) = 0;
  virtual absl::StatusOr<std::unique_ptr<BodyReader>> ReadBodies() = 0;
};

// One snapshot.
class Source : public Side {
 public:
  // FAILED_PRECONDITION: the service was started meanwhile.
  virtual absl::Status StillUnused() = 0;
};

// Everything is written in one transaction, seen by its own readers alone until Commit, and gone
// when it is destroyed without that.
class Destination : public Side {
 public:
  // Whether a message's body must be there before it; otherwise it comes after.
  virtual bool bodies_first() const = 0;
  virtual absl::Status Begin(const Table& table) = 0;
  // May be told by a later call.
  virtual absl::Status Write(const Table& table, absl::Span<const SqlValue> row) = 0;
  virtual absl::Status End(const Table& table) = 0;
  // Writes every body that `bodies` gives; how many.
  virtual absl::StatusOr<int64_t> WriteBodies(BodyReader& bodies) = 0;
  // Once all is written: what the database keeps beside the rows.
  virtual absl::Status Finish() = 0;
  // Durable.
  virtual absl::Status Commit() = 0;
};

// FAILED_PRECONDITION and UNAVAILABLE say in what way it is not what a copy needs: not there, in
// use, of another schema, and of a destination: not empty. `database` must outlive them.
absl::StatusOr<std::unique_ptr<Source>> OpenSqliteSource(const std::string& file,
                                                         const Database& database);
absl::StatusOr<std::unique_ptr<Destination>> OpenSqliteDestination(const std::string& file,
                                                                   const Database& database);
absl::StatusOr<std::unique_ptr<Source>> OpenPostgresqlSource(const config::v1::PostgreSql& config,
                                                             const Database& database);
absl::StatusOr<std::unique_ptr<Destination>> OpenPostgresqlDestination(
    const config::v1::PostgreSql& config, const Database& database);

}  // namespace postern::storage::copy

#endif  // POSTERN_SERVICES_STORAGE_COPY_SIDE_H_
