// SQL that every database of ours takes, as an interface: for repositories whose statements are few
// and small. What is hot speaks to its database itself.
#ifndef POSTERN_SERVICES_STORAGE_SQL_SQL_H_
#define POSTERN_SERVICES_STORAGE_SQL_SQL_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace postern::storage {

// A parameter. Views must live until the statement has run.
struct SqlValue {
  enum class Kind { kNull, kInt, kText, kBlob };

  static SqlValue Int(int64_t value) { return {Kind::kInt, value, {}}; }
  static SqlValue Text(absl::string_view value) { return {Kind::kText, 0, value}; }
  static SqlValue Blob(absl::string_view value) { return {Kind::kBlob, 0, value}; }

  Kind kind = Kind::kNull;
  int64_t number = 0;
  absl::string_view octets;
};

// All rows of a statement. Columns start at 0; views live as long as the rows.
class SqlRows {
 public:
  virtual ~SqlRows() = default;
  virtual size_t size() const = 0;
  virtual bool IsNull(size_t row, int column) const = 0;
  virtual int64_t Int(size_t row, int column) const = 0;
  // Text or blob.
  virtual absl::string_view Octets(size_t row, int column) const = 0;
  // Rows that an INSERT, UPDATE or DELETE changed.
  virtual int64_t changes() const = 0;
};

// A connection inside a transaction of its owner. One thread. ALREADY_EXISTS: a unique key is
// taken; ABORTED: lost against another transaction, UNAVAILABLE: the database can't now (both may
// be tried again); RESOURCE_EXHAUSTED: its disk is full; the rest INTERNAL.
class Sql {
 public:
  virtual ~Sql() = default;
  // Parameters are $1, $2 ..., and first stand in this order. Prepared once per text and kept: the
  // text must be a literal (bounded in number).
  virtual absl::StatusOr<std::unique_ptr<SqlRows>> Run(absl::string_view sql,
                                                       absl::Span<const SqlValue> values) = 0;
};

}  // namespace postern::storage

#endif  // POSTERN_SERVICES_STORAGE_SQL_SQL_H_
