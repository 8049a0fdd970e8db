// Arrays as parameters: one statement for many rows, with `unnest($1::bytea[], $2::bigint[])`.
#ifndef POSTERN_SERVICES_STORAGE_POSTGRESQL_ARRAY_H_
#define POSTERN_SERVICES_STORAGE_POSTGRESQL_ARRAY_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "services/storage/sql/sql.h"

namespace postern::storage::postgresql {

// In PostgreSQL's binary format. The statement names its type, as above: what was added decides
// which.
class Array {
 public:
  static Array Bytea() { return Array(17); }
  static Array Bigint() { return Array(20); }
  static Array Text() { return Array(25); }

  void Add(absl::string_view octets);
  void Add(int64_t number);
  int32_t size() const { return size_; }

  // Until the next Add.
  SqlValue value() const { return SqlValue::Blob(octets_); }

 private:
  explicit Array(int32_t element_type);

  std::string octets_;
  int32_t size_ = 0;
};

}  // namespace postern::storage::postgresql

#endif  // POSTERN_SERVICES_STORAGE_POSTGRESQL_ARRAY_H_
