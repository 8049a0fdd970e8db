#include "services/storage/body/postgresql_bodies.h"

#include "absl/strings/escaping.h"
#include "services/crypto/random_id.h"
#include "services/storage/body/postgresql_body_schema.h"

namespace postern::storage {
namespace {

using postgresql::Array;
using postgresql::Pool;
using postgresql::Statement;

constexpr int64_t kMaxPieces = 1 << 16;

constexpr char kAddBodies[] =
    "INSERT INTO body (shard, sha256, reference_count, original_octets, octets) "
    "SELECT $1, sha256, added, original, octets "
    "FROM unnest($2::bytea[], $3::bigint[], $4::bigint[], $5::bytea[]) "
    "AS b (sha256, added, original, octets) "
    "ON CONFLICT (shard, sha256) "
    "DO UPDATE SET reference_count = body.reference_count + excluded.reference_count";
constexpr char kLockBodies[] =
    "SELECT 1 FROM body WHERE shard = $1 AND sha256 = ANY($2::bytea[]) ORDER BY sha256 FOR UPDATE";
constexpr char kDeleteBodies[] =
    "WITH gone AS (DELETE FROM body b USING unnest($2::bytea[], $3::bigint[]) AS r (sha256, taken) "
    "WHERE b.shard = $1 AND b.sha256 = r.sha256 AND b.reference_count <= r.taken "
    "RETURNING b.piece_key) "
    "DELETE FROM body_piece p USING gone WHERE p.shard = $1 AND p.piece_key = gone.piece_key";
// After that.
constexpr char kReleaseBodies[] =
    "UPDATE body b SET reference_count = reference_count - r.taken "
    "FROM unnest($2::bytea[], $3::bigint[]) AS r (sha256, taken) "
    "WHERE b.shard = $1 AND b.sha256 = r.sha256 AND b.reference_count > r.taken";

// Nobody waits longer for a next piece than a gateway does for a client.
constexpr char kFirstPiece[] =
    "WITH staged AS (INSERT INTO staged_body (shard, piece_key, expires_at) "
    "VALUES ($1, $2, now() + interval '1 hour') RETURNING 1) "
    "INSERT INTO body_piece (shard, piece_key, position, original_octets, octets) "
    "SELECT $1, $2, $3, $4, $5 FROM staged";
constexpr char kNextPiece[] =
    "WITH staged AS (UPDATE staged_body SET expires_at = now() + interval '1 hour' "
    "WHERE shard = $1 AND piece_key = $2 RETURNING 1) "
    "INSERT INTO body_piece (shard, piece_key, position, original_octets, octets) "
    "SELECT $1, $2, $3, $4, $5 FROM staged";
constexpr char kCopyStaged[] =
    "WITH staged AS (INSERT INTO staged_body (shard, piece_key, expires_at) "
    "VALUES ($1, $2, now() + interval '1 hour')) "
    "INSERT INTO body_piece (shard, piece_key, position, original_octets, octets) "
    "SELECT $1, $2, position, original_octets, octets FROM body_piece "
    "WHERE shard = $3 AND piece_key = $4";
constexpr char kDropStaged[] =
    "WITH staged AS (DELETE FROM staged_body WHERE shard = $1 AND piece_key = $2 "
    "RETURNING piece_key) "
    "DELETE FROM body_piece p USING staged WHERE p.shard = $1 AND p.piece_key = staged.piece_key";
constexpr char kExpiredBodies[] =
    "SELECT shard, piece_key FROM staged_body WHERE expires_at < now() LIMIT $1";
constexpr char kPiece[] =
    "SELECT original_octets, octets FROM body_piece WHERE shard = $1 AND piece_key = $2 "
    "AND position = $3";
constexpr char kLockStaged[] =
    "SELECT 1 FROM staged_body WHERE shard = $1 AND piece_key = $2 FOR UPDATE";
constexpr char kAddStagedBody[] =
    "INSERT INTO body (shard, sha256, reference_count, piece_key) VALUES ($1, $2, $3, $4) "
    "ON CONFLICT (shard, sha256) "
    "DO UPDATE SET reference_count = body.reference_count + excluded.reference_count";
// Unless an equal body was there already.
constexpr char kUnstage[] =
    "DELETE FROM staged_body s USING body b WHERE s.shard = $1 AND s.piece_key = $2 "
    "AND b.shard = $1 AND b.sha256 = $3 AND b.piece_key = $2";

SqlValue Shard(const StagedKey& key) { return SqlValue::Int(key.shard); }
SqlValue Octets(const StagedKey& key) { return SqlValue::Blob(key.octets); }

}  // namespace

absl::string_view PostgresqlBodySchema() { return sql::kPostgresqlBodySchema; }

absl::Status PiecesExpired() {
  return absl::UnavailableError("the body's pieces have been waiting for too long");
}

StagedKey NewStagedKey(int32_t shard) {
  return {shard, absl::HexStringToBytes(crypto::RandomId())};
}

absl::Status StagePiece(Pool& pool, const StagedKey& key, int64_t position,
                        const CompressedPiece& piece) {
  if (position >= kMaxPieces) return absl::OutOfRangeError("a body has at most 65536 pieces");
  const absl::StatusOr<int64_t> added =
      pool.Change(Pool::OnBreak::kFail, position == 0 ? kFirstPiece : kNextPiece,
                  {Shard(key), Octets(key), SqlValue::Int(position),
                   SqlValue::Int(piece.original_octets), SqlValue::Blob(piece.octets)});
  if (added.ok() && *added == 0) return PiecesExpired();
  return added.status();
}

absl::Status CopyStaged(Pool& pool, const StagedKey& from, const StagedKey& to) {
  return pool
      .Change(Pool::OnBreak::kFail, kCopyStaged, {Shard(to), Octets(to), Shard(from), Octets(from)})
      .status();
}

absl::Status DropStaged(Pool& pool, const StagedKey& key) {
  return pool.Change(Pool::OnBreak::kRepeat, kDropStaged, {Shard(key), Octets(key)}).status();
}

absl::StatusOr<std::vector<StagedKey>> FindExpired(Pool& pool, int64_t limit) {
  absl::StatusOr<std::unique_ptr<SqlRows>> rows =
      pool.Query(kExpiredBodies, {SqlValue::Int(limit)});
  if (!rows.ok()) return rows.status();
  std::vector<StagedKey> keys;
  for (size_t row = 0; row < (*rows)->size(); ++row) {
    keys.push_back(
        {static_cast<int32_t>((*rows)->Int(row, 0)), std::string((*rows)->Octets(row, 1))});
  }
  return keys;
}

absl::StatusOr<std::string> ReadStagedPiece(Pool& pool, const StagedKey& key, int64_t position) {
  if (position < 0 || position >= kMaxPieces) return absl::NotFoundError("no such piece");
  absl::StatusOr<std::unique_ptr<SqlRows>> rows =
      pool.Query(kPiece, {Shard(key), Octets(key), SqlValue::Int(position)});
  if (!rows.ok()) return rows.status();
  if ((*rows)->size() == 0) return absl::NotFoundError("no such piece");
  return DecompressPiece((*rows)->Octets(0, 1), (*rows)->Int(0, 0));
}

void BodyChanges::Add(absl::string_view sha256, const CompressedPiece& piece, int64_t references) {
  Added& added = added_[std::string(sha256)];
  added.piece = &piece;
  added.references += references;
}

void BodyChanges::Release(absl::string_view sha256, int64_t references) {
  released_[std::string(sha256)] += references;
}

void BodyChanges::AppendTo(std::vector<Statement>* statements) {
  const SqlValue shard = SqlValue::Int(shard_);
  for (const auto& [sha256, added] : added_) {
    added_hashes_.Add(sha256);
    added_references_.Add(added.references);
    originals_.Add(int64_t{added.piece->original_octets});
    octets_.Add(added.piece->octets);
  }
  if (!added_.empty()) {
    statements->push_back({kAddBodies,
                           {shard, added_hashes_.value(), added_references_.value(),
                            originals_.value(), octets_.value()}});
  }
  for (const auto& [sha256, references] : released_) {
    released_hashes_.Add(sha256);
    released_references_.Add(references);
  }
  if (released_.empty()) return;
  statements->push_back({kLockBodies, {shard, released_hashes_.value()}});
  for (const absl::string_view sql : {kDeleteBodies, kReleaseBodies}) {
    statements->push_back({sql, {shard, released_hashes_.value(), released_references_.value()}});
  }
}

Statement LockStaged(const StagedKey& key) { return {kLockStaged, {Shard(key), Octets(key)}}; }

void AppendAddStaged(const StagedKey& key, absl::string_view sha256, int64_t references,
                     std::vector<Statement>* statements) {
  const SqlValue hash = SqlValue::Blob(sha256);
  statements->push_back(
      {kAddStagedBody, {Shard(key), hash, SqlValue::Int(references), Octets(key)}});
  statements->push_back({kUnstage, {Shard(key), Octets(key), hash}});
}

}  // namespace postern::storage
