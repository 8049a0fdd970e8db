#include "services/storage/sqlite/sqlite_sql.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace postern::storage {
namespace {

struct Cell {
  bool null = false;
  int64_t number = 0;
  std::string octets;
};

class Rows final : public SqlRows {
 public:
  void Add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
  void set_changes(int64_t changes) { changes_ = changes; }

  size_t size() const override { return rows_.size(); }
  bool IsNull(size_t row, int column) const override { return rows_[row][column].null; }
  int64_t Int(size_t row, int column) const override { return rows_[row][column].number; }
  absl::string_view Octets(size_t row, int column) const override {
    return rows_[row][column].octets;
  }
  int64_t changes() const override { return changes_; }

 private:
  std::vector<std::vector<Cell>> rows_;
  int64_t changes_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SqlRows>> SqliteSql::Run(absl::string_view sql,
                                                        absl::Span<const SqlValue> values) {
  absl::StatusOr<Statement*> statement = database_.Prepare(sql);
  if (!statement.ok()) return statement.status();
  Use use(*statement);
  int position = 0;
  for (const SqlValue& value : values) {
    ++position;
    switch (value.kind) {
      case SqlValue::Kind::kNull:
        use->BindNull(position);
        break;
      case SqlValue::Kind::kInt:
        use->Bind(position, value.number);
        break;
      case SqlValue::Kind::kText:
        use->BindText(position, value.octets);
        break;
      case SqlValue::Kind::kBlob:
        use->BindBlob(position, value.octets);
        break;
    }
  }
  auto rows = std::make_unique<Rows>();
  while (true) {
    absl::StatusOr<bool> row = use->Step();
    if (!row.ok()) return row.status();
    if (!*row) break;
    std::vector<Cell> cells(static_cast<size_t>(use->columns()));
    for (int i = 0; i < use->columns(); ++i) {
      cells[i] = {use->IsNull(i), use->Int(i), std::string(use->Blob(i))};
    }
    rows->Add(std::move(cells));
  }
  rows->set_changes(database_.Changes());
  return rows;
}

}  // namespace postern::storage
