#include "services/storage/copy/copy_database.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/crypto/sha256.h"
#include "services/storage/copy/side.h"

namespace postern::storage::copy {
namespace {

constexpr absl::string_view kBodies = "body";

absl::Status OfTable(absl::string_view table, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat("table ", table, ": ", status.message()));
}

bool Same(const SqlValue& a, const SqlValue& b) {
  const bool null = a.kind == SqlValue::Kind::kNull;
  if (null || b.kind == SqlValue::Kind::kNull) return null && b.kind == SqlValue::Kind::kNull;
  // Text in the one may be octets in the other.
  return a.number == b.number && a.octets == b.octets;
}

std::string ForPeople(const Column& column, const SqlValue& value) {
  std::string text = "NULL";
  if (value.kind == SqlValue::Kind::kInt) text = absl::StrCat(value.number);
  if (value.kind == SqlValue::Kind::kText) text = absl::CHexEscape(value.octets);
  if (value.kind == SqlValue::Kind::kBlob) text = absl::BytesToHexString(value.octets);
  return absl::StrCat(column.name, " ", text);
}

std::string KeyOf(const Table& table, absl::Span<const SqlValue> row) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < table.key_columns; ++i) {
    parts.push_back(ForPeople(table.columns[i], row[i]));
  }
  return absl::StrCat("the row with ", absl::StrJoin(parts, ", "));
}

// Empty, or the first column of `begin` to `end` that differs.
absl::string_view Difference(const Table& table, absl::Span<const SqlValue> a,
                             absl::Span<const SqlValue> b, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) {
    if (!Same(a[i], b[i])) return table.columns[i].name;
  }
  return {};
}

class Copier {
 public:
  Copier(const Database& database, Source& from, Destination& to,
         absl::FunctionRef<void(absl::string_view)> say)
      : database_(database), from_(from), to_(to), say_(say) {}

  absl::StatusOr<std::string> Run() {
    absl::Status status = InOrder(
        "copying", [this](const Table& table) { return Copy(table); },
        [this] { return CopyBodies(); });
    if (status.ok()) status = to_.Finish();
    if (status.ok()) {
      status = InOrder(
          "comparing", [this](const Table& table) { return Compare(table); },
          [this] { return CompareBodies(); });
    }
    if (status.ok()) status = from_.StillUnused();
    if (status.ok()) status = to_.Commit();
    if (!status.ok()) return status;
    return absl::StrJoin(report_, "\n");
  }

 private:
  absl::Status InOrder(absl::string_view doing,
                       const std::function<absl::Status(const Table&)>& table_step,
                       const std::function<absl::Status()>& body_step) {
    const auto bodies = [&]() -> absl::Status {
      if (!database_.has_bodies) return absl::OkStatus();
      say_(absl::StrCat(doing, " ", kBodies));
      return OfTable(kBodies, body_step());
    };
    if (to_.bodies_first()) {
      if (absl::Status status = bodies(); !status.ok()) return status;
    }
    for (const Table& table : database_.tables) {
      say_(absl::StrCat(doing, " ", table.name));
      if (absl::Status status = OfTable(table.name, table_step(table)); !status.ok()) return status;
    }
    return to_.bodies_first() ? absl::OkStatus() : bodies();
  }

  void Report(absl::string_view table, int64_t rows) {
    report_.push_back(absl::StrCat(table, ": ", rows, rows == 1 ? " row" : " rows"));
  }

  absl::Status Copy(const Table& table) {
    if (absl::Status status = to_.Begin(table); !status.ok()) return status;
    absl::StatusOr<std::unique_ptr<RowReader>> rows = from_.Read(table);
    if (!rows.ok()) return rows.status();
    int64_t copied = 0;
    while (true) {
      absl::StatusOr<bool> row = (*rows)->Next();
      if (!row.ok()) return row.status();
      if (!*row) break;
      if (absl::Status status = to_.Write(table, (*rows)->row()); !status.ok()) return status;
      ++copied;
    }
    Report(table.name, copied);
    return to_.End(table);
  }

  absl::Status CopyBodies() {
    absl::StatusOr<std::unique_ptr<BodyReader>> bodies = from_.ReadBodies();
    if (!bodies.ok()) return bodies.status();
    absl::StatusOr<int64_t> copied = to_.WriteBodies(**bodies);
    if (!copied.ok()) return copied.status();
    Report(kBodies, *copied);
    return absl::OkStatus();
  }

  absl::Status Compare(const Table& table) {
    absl::StatusOr<std::unique_ptr<RowReader>> ours = from_.Read(table);
    if (!ours.ok()) return ours.status();
    absl::StatusOr<std::unique_ptr<RowReader>> theirs = to_.Read(table);
    if (!theirs.ok()) return theirs.status();
    while (true) {
      absl::StatusOr<bool> here = (*ours)->Next();
      if (!here.ok()) return here.status();
      absl::StatusOr<bool> there = (*theirs)->Next();
      if (!there.ok()) return there.status();
      if (!*here && !*there) return absl::OkStatus();
      if (!*here) return Missing(from_, KeyOf(table, (*theirs)->row()));
      const absl::Span<const SqlValue> row = (*ours)->row();
      if (!*there || !Difference(table, row, (*theirs)->row(), 0, table.key_columns).empty()) {
        return Missing(to_, KeyOf(table, row));
      }
      const absl::string_view column =
          Difference(table, row, (*theirs)->row(), table.key_columns, table.columns.size());
      if (!column.empty()) {
        return absl::DataLossError(
            absl::StrCat(KeyOf(table, row), ": ", column, " is not the same on both sides"));
      }
    }
  }

  absl::Status Missing(const Side& side, absl::string_view what) const {
    return absl::DataLossError(absl::StrCat(what, " is not where it should be in ", side.name()));
  }

  // All that is kept of one content.
  struct Body {
    std::string sha256;
    int64_t references = 0;
  };

  // Reads them one after the other, and their contents.
  class Contents {
   public:
    Contents(const Side& side, std::unique_ptr<BodyReader> reader)
        : side_(side), reader_(std::move(reader)) {}

    // nullopt: there are no more.
    absl::StatusOr<std::optional<Body>> Next() {
      std::optional<Body> body = std::exchange(waiting_, std::nullopt);
      while (!ended_) {
        absl::StatusOr<bool> there = reader_->Next();
        if (!there.ok()) return there.status();
        ended_ = !*there;
        if (ended_) break;
        if (absl::Status status = Check(); !status.ok()) return status;
        Body next{std::string(reader_->sha256()), reader_->references()};
        if (body.has_value() && body->sha256 != next.sha256) {
          waiting_ = std::move(next);
          return body;
        }
        next.references += body.has_value() ? body->references : 0;
        body = std::move(next);
      }
      return body;
    }

   private:
    absl::Status Check() {
      crypto::Sha256 hash;
      const auto wrong = [this](absl::string_view why) {
        return absl::DataLossError(absl::StrCat("the body with sha256 ",
                                                absl::BytesToHexString(reader_->sha256()), ": ",
                                                why, " (in ", side_.name(), ")"));
      };
      while (true) {
        absl::StatusOr<std::optional<CompressedPiece>> piece = reader_->NextPiece();
        if (!piece.ok()) return piece.status();
        if (!piece->has_value()) break;
        absl::StatusOr<std::string> octets =
            DecompressPiece((*piece)->octets, (*piece)->original_octets);
        if (!octets.ok()) return wrong(octets.status().message());
        hash.Update(*octets);
      }
      if (hash.Finish() != reader_->sha256()) return wrong("its content is another");
      return absl::OkStatus();
    }

    const Side& side_;
    const std::unique_ptr<BodyReader> reader_;
    std::optional<Body> waiting_;
    bool ended_ = false;
  };

  absl::Status CompareBodies() {
    absl::StatusOr<std::unique_ptr<BodyReader>> here = from_.ReadBodies();
    if (!here.ok()) return here.status();
    absl::StatusOr<std::unique_ptr<BodyReader>> there = to_.ReadBodies();
    if (!there.ok()) return there.status();
    Contents ours(from_, *std::move(here));
    Contents theirs(to_, *std::move(there));
    const auto name = [](const Body& body) {
      return absl::StrCat("the body with sha256 ", absl::BytesToHexString(body.sha256));
    };
    while (true) {
      absl::StatusOr<std::optional<Body>> mine = ours.Next();
      if (!mine.ok()) return mine.status();
      absl::StatusOr<std::optional<Body>> other = theirs.Next();
      if (!other.ok()) return other.status();
      if (!mine->has_value() && !other->has_value()) return absl::OkStatus();
      if (!mine->has_value()) return Missing(from_, name(**other));
      if (!other->has_value() || (*mine)->sha256 != (*other)->sha256) {
        return Missing(to_, name(**mine));
      }
      if ((*mine)->references != (*other)->references) {
        return absl::DataLossError(absl::StrCat(name(**mine), " has ", (*mine)->references,
                                                " messages in ", from_.name(), " and ",
                                                (*other)->references, " in ", to_.name()));
      }
    }
  }

  const Database& database_;
  Source& from_;
  Destination& to_;
  const absl::FunctionRef<void(absl::string_view)> say_;
  std::vector<std::string> report_;
};

}  // namespace

absl::StatusOr<std::string> CopyDatabase(const Database& database, const Place& from,
                                         const Place& to,
                                         absl::FunctionRef<void(absl::string_view)> say) {
  if ((from.postgresql != nullptr) == (to.postgresql != nullptr)) {
    const absl::string_view key = from.postgresql != nullptr ? "postgresql" : "database_file";
    return absl::InvalidArgumentError(
        absl::StrCat("both configurations have ", key, ": one names SQLite, the other PostgreSQL"));
  }
  absl::StatusOr<std::unique_ptr<Source>> source =
      from.postgresql != nullptr ? OpenPostgresqlSource(*from.postgresql, database)
                                 : OpenSqliteSource(from.file, database);
  if (!source.ok()) {
    return absl::Status(source.status().code(),
                        absl::StrCat("the source: ", source.status().message()));
  }
  absl::StatusOr<std::unique_ptr<Destination>> destination =
      to.postgresql != nullptr ? OpenPostgresqlDestination(*to.postgresql, database)
                               : OpenSqliteDestination(to.file, database);
  if (!destination.ok()) {
    return absl::Status(destination.status().code(),
                        absl::StrCat("the destination: ", destination.status().message()));
  }
  return Copier(database, **source, **destination, say).Run();
}

}  // namespace postern::storage::copy
