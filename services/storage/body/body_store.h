// Message bodies in SQLite: pieces of at most kMaxPieceOctets, zstd, stored once by content,
// reference-counted. Shared by store-svc's mail and relay-svc's spool, each in its own database.
#ifndef POSTERN_SERVICES_STORAGE_BODY_BODY_STORE_H_
#define POSTERN_SERVICES_STORAGE_BODY_BODY_STORE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/storage/body/piece_codec.h"
#include "services/storage/sqlite/sqlite.h"

namespace postern::storage {

// The tables, for migrations of the owning database: first the one, later the other.
absl::string_view BodySchema();
absl::string_view BodyIdsNeverRepeat();

// All on a connection inside its owner's transaction. A body's id is never another's; `sha256` is
// crypto::Sha256 over all of it.

// A body of one piece: stored, or the equal one that is there already. Its reference count goes up
// by `references`.
absl::StatusOr<int64_t> AddBody(Sqlite& database, absl::string_view sha256,
                                const CompressedPiece& piece, int references);

// A large body comes in pieces over several transactions, invisible until it is finished;
// unfinished ones of an earlier process are dropped by DropUnfinishedBodies at start-up.
absl::StatusOr<int64_t> BeginBody(Sqlite& database);
absl::Status AppendPiece(Sqlite& database, int64_t body_id, const CompressedPiece& piece);
// Returns the id to use: an equal body that is there already wins and the new one is dropped.
absl::StatusOr<int64_t> FinishBody(Sqlite& database, int64_t body_id, absl::string_view sha256,
                                   int references);
absl::Status DropBody(Sqlite& database, int64_t body_id);
absl::Status DropUnfinishedBodies(Sqlite& database);

// One more for a body that is there.
absl::Status ReferToBody(Sqlite& database, int64_t body_id);
// Takes references back; the last one deletes the body.
absl::Status ReleaseBody(Sqlite& database, int64_t body_id, int references);

// Piece `index` (from 0), decompressed. NOT_FOUND past the end.
absl::StatusOr<std::string> ReadPiece(Sqlite& database, int64_t body_id, int64_t index);

}  // namespace postern::storage

#endif  // POSTERN_SERVICES_STORAGE_BODY_BODY_STORE_H_
