#include "services/storage/body/body_store.h"

#include "services/storage/body/body_schema.h"

namespace postern::storage {
namespace {

constexpr int64_t kMaxPieces = 1 << 16;

int64_t PieceId(int64_t body_id, int64_t index) { return body_id * kMaxPieces + index; }

absl::Status InsertPiece(Sqlite& database, int64_t piece_id, const CompressedPiece& piece) {
  absl::StatusOr<Statement*> insert = database.Prepare(
      "INSERT INTO body_piece (piece_id, original_octets, octets) VALUES (?, ?, ?)");
  if (!insert.ok()) return insert.status();
  return (*insert)
      ->Bind(1, piece_id)
      .Bind(2, piece.original_octets)
      .BindBlob(3, piece.octets)
      .Run();
}

absl::Status DeleteBody(Sqlite& database, int64_t body_id) {
  absl::StatusOr<Statement*> pieces =
      database.Prepare("DELETE FROM body_piece WHERE piece_id BETWEEN ? AND ?");
  if (!pieces.ok()) return pieces.status();
  if (absl::Status status =
          (*pieces)->Bind(1, PieceId(body_id, 0)).Bind(2, PieceId(body_id, kMaxPieces - 1)).Run();
      !status.ok()) {
    return status;
  }
  absl::StatusOr<Statement*> body = database.Prepare("DELETE FROM body WHERE body_id = ?");
  if (!body.ok()) return body.status();
  return (*body)->Bind(1, body_id).Run();
}

// Adds references to the finished body with this hash; 0 when there is none.
absl::StatusOr<int64_t> Refer(Sqlite& database, absl::string_view sha256, int references) {
  absl::StatusOr<Statement*> update = database.Prepare(
      "UPDATE body SET reference_count = reference_count + ? WHERE sha256 = ? RETURNING body_id");
  if (!update.ok()) return update.status();
  Use use(*update);
  use->Bind(1, references).BindBlob(2, sha256);
  absl::StatusOr<bool> row = use->Step();
  if (!row.ok()) return row.status();
  return *row ? use->Int(0) : 0;
}

}  // namespace

absl::string_view BodySchema() { return sql::kBodySchema; }
absl::string_view BodyIdsNeverRepeat() { return sql::kBodyIdsNeverRepeat; }

absl::StatusOr<int64_t> AddBody(Sqlite& database, absl::string_view sha256,
                                const CompressedPiece& piece, int references) {
  absl::StatusOr<int64_t> known = Refer(database, sha256, references);
  if (!known.ok() || *known != 0) return known;
  absl::StatusOr<Statement*> insert =
      database.Prepare("INSERT INTO body (sha256, pieces, reference_count) VALUES (?, 1, ?)");
  if (!insert.ok()) return insert.status();
  if (absl::Status status = (*insert)->BindBlob(1, sha256).Bind(2, references).Run();
      !status.ok()) {
    return status;
  }
  const int64_t body_id = database.LastInsertRowid();
  if (absl::Status status = InsertPiece(database, PieceId(body_id, 0), piece); !status.ok()) {
    return status;
  }
  return body_id;
}

absl::StatusOr<int64_t> BeginBody(Sqlite& database) {
  absl::StatusOr<Statement*> insert =
      database.Prepare("INSERT INTO body (sha256, pieces, reference_count) VALUES (NULL, 0, 0)");
  if (!insert.ok()) return insert.status();
  if (absl::Status status = (*insert)->Run(); !status.ok()) return status;
  return database.LastInsertRowid();
}

absl::Status AppendPiece(Sqlite& database, int64_t body_id, const CompressedPiece& piece) {
  absl::StatusOr<Statement*> update = database.Prepare(
      "UPDATE body SET pieces = pieces + 1 WHERE body_id = ? AND sha256 IS NULL RETURNING pieces");
  if (!update.ok()) return update.status();
  int64_t pieces = 0;
  {
    Use use(*update);
    use->Bind(1, body_id);
    absl::StatusOr<bool> row = use->Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::NotFoundError("no such unfinished body");
    pieces = use->Int(0);
  }
  if (pieces > kMaxPieces) return absl::OutOfRangeError("a body has at most 65536 pieces");
  return InsertPiece(database, PieceId(body_id, pieces - 1), piece);
}

absl::StatusOr<int64_t> FinishBody(Sqlite& database, int64_t body_id, absl::string_view sha256,
                                   int references) {
  absl::StatusOr<int64_t> known = Refer(database, sha256, references);
  if (!known.ok()) return known;
  if (*known != 0) {
    if (absl::Status status = DropBody(database, body_id); !status.ok()) return status;
    return known;
  }
  absl::StatusOr<Statement*> update = database.Prepare(
      "UPDATE body SET sha256 = ?, reference_count = ? WHERE body_id = ? AND sha256 IS NULL");
  if (!update.ok()) return update.status();
  if (absl::Status status =
          (*update)->BindBlob(1, sha256).Bind(2, references).Bind(3, body_id).Run();
      !status.ok()) {
    return status;
  }
  if (database.Changes() == 0) return absl::NotFoundError("no such unfinished body");
  return body_id;
}

absl::Status DropBody(Sqlite& database, int64_t body_id) {
  absl::StatusOr<Statement*> query =
      database.Prepare("SELECT 1 FROM body WHERE body_id = ? AND sha256 IS NULL");
  if (!query.ok()) return query.status();
  {
    Use use(*query);
    use->Bind(1, body_id);
    absl::StatusOr<bool> row = use->Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::OkStatus();
  }
  return DeleteBody(database, body_id);
}

absl::Status DropUnfinishedBodies(Sqlite& database) {
  for (;;) {
    // Finds them by the index on sha256, where NULL stands first.
    absl::StatusOr<Statement*> query =
        database.Prepare("SELECT body_id FROM body WHERE sha256 IS NULL LIMIT 1");
    if (!query.ok()) return query.status();
    int64_t body_id = 0;
    {
      Use use(*query);
      absl::StatusOr<bool> row = use->Step();
      if (!row.ok()) return row.status();
      if (!*row) return absl::OkStatus();
      body_id = use->Int(0);
    }
    if (absl::Status status = DeleteBody(database, body_id); !status.ok()) return status;
  }
}

absl::Status ReferToBody(Sqlite& database, int64_t body_id) {
  absl::StatusOr<Statement*> update =
      database.Prepare("UPDATE body SET reference_count = reference_count + 1 WHERE body_id = ?");
  if (!update.ok()) return update.status();
  return (*update)->Bind(1, body_id).Run();
}

absl::Status ReleaseBody(Sqlite& database, int64_t body_id, int references) {
  absl::StatusOr<Statement*> update = database.Prepare(
      "UPDATE body SET reference_count = reference_count - ? WHERE body_id = ? "
      "RETURNING reference_count");
  if (!update.ok()) return update.status();
  int64_t left = 0;
  {
    Use use(*update);
    use->Bind(1, references).Bind(2, body_id);
    absl::StatusOr<bool> row = use->Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::NotFoundError("no such body");
    left = use->Int(0);
  }
  return left > 0 ? absl::OkStatus() : DeleteBody(database, body_id);
}

absl::StatusOr<std::string> ReadPiece(Sqlite& database, int64_t body_id, int64_t index) {
  if (index < 0 || index >= kMaxPieces) return absl::NotFoundError("no such piece");
  absl::StatusOr<Statement*> query =
      database.Prepare("SELECT original_octets, octets FROM body_piece WHERE piece_id = ?");
  if (!query.ok()) return query.status();
  Use use(*query);
  use->Bind(1, PieceId(body_id, index));
  absl::StatusOr<bool> row = use->Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::NotFoundError("no such piece");
  return DecompressPiece(use->Blob(1), use->Int(0));
}

}  // namespace postern::storage
