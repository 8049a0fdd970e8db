#include "services/storage/copy/description.h"

#include "absl/strings/str_join.h"

namespace postern::storage::copy {
namespace {

void AppendName(std::string* out, const Column& column) {
  out->append(column.name.data(), column.name.size());
}

}  // namespace

std::string ColumnList(const Table& table) {
  return absl::StrJoin(table.columns, ", ", AppendName);
}

std::string KeyList(const Table& table) {
  return absl::StrJoin(absl::MakeConstSpan(table.columns).first(table.key_columns), ", ",
                       AppendName);
}

}  // namespace postern::storage::copy
