// Message bodies in PostgreSQL: stored once by content in each shard, reference-counted; a large
// one in pieces. Shared by store-svc's mail and relay-svc's spool, each in its own database.
#ifndef POSTERN_SERVICES_STORAGE_BODY_POSTGRESQL_BODIES_H_
#define POSTERN_SERVICES_STORAGE_BODY_POSTGRESQL_BODIES_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/storage/body/piece_codec.h"
#include "services/storage/postgresql/array.h"
#include "services/storage/postgresql/connection.h"
#include "services/storage/postgresql/pool.h"

namespace postern::storage {

// The tables, for the first migration of the owning database.
absl::string_view PostgresqlBodySchema();

// Names a body's pieces, for ever.
struct StagedKey {
  int32_t shard = 0;
  // 16, random.
  std::string octets;
};
StagedKey NewStagedKey(int32_t shard);

// Pieces come in one after the other, from 0, invisible until a transaction makes a body of them
// (AddStaged). An hour after the last one they expire.
absl::Status StagePiece(postgresql::Pool& pool, const StagedKey& key, int64_t position,
                        const CompressedPiece& piece);
absl::Status CopyStaged(postgresql::Pool& pool, const StagedKey& from, const StagedKey& to);
// Nothing when the pieces are a body's.
absl::Status DropStaged(postgresql::Pool& pool, const StagedKey& key);
// At most `limit` that expired.
absl::StatusOr<std::vector<StagedKey>> FindExpired(postgresql::Pool& pool, int64_t limit);
// Piece `position`, decompressed. NOT_FOUND past the end.
absl::StatusOr<std::string> ReadStagedPiece(postgresql::Pool& pool, const StagedKey& key,
                                            int64_t position);

// Statements of a transaction that has locked what refers to the bodies. Of one shard; their views
// are good until the next call.
class BodyChanges {
 public:
  explicit BodyChanges(int32_t shard) : shard_(shard) {}

  // `piece` must live until the statements have run.
  void Add(absl::string_view sha256, const CompressedPiece& piece, int64_t references);
  // To one that is there.
  void Refer(absl::string_view sha256, int64_t references) { Release(sha256, -references); }
  void Release(absl::string_view sha256, int64_t references);
  void AppendTo(std::vector<postgresql::Statement>* statements);

 private:
  struct Added {
    const CompressedPiece* piece = nullptr;
    int64_t references = 0;
  };

  const int32_t shard_;
  // In the order of their hashes, as they are locked.
  std::map<std::string, Added> added_;
  std::map<std::string, int64_t> released_;
  postgresql::Array added_hashes_ = postgresql::Array::Bytea();
  postgresql::Array added_references_ = postgresql::Array::Bigint();
  postgresql::Array originals_ = postgresql::Array::Bigint();
  postgresql::Array octets_ = postgresql::Array::Bytea();
  postgresql::Array released_hashes_ = postgresql::Array::Bytea();
  postgresql::Array released_references_ = postgresql::Array::Bigint();
};

absl::Status PiecesExpired();
// Gives no row when the pieces expired (PiecesExpired).
postgresql::Statement LockStaged(const StagedKey& key);
// Makes them a body, or refers to the equal one that is there: then the pieces stay staged.
void AppendAddStaged(const StagedKey& key, absl::string_view sha256, int64_t references,
                     std::vector<postgresql::Statement>* statements);

}  // namespace postern::storage

#endif  // POSTERN_SERVICES_STORAGE_BODY_POSTGRESQL_BODIES_H_
