// A step of a schema, whichever database it is.
#ifndef POSTERN_SERVICES_STORAGE_SQL_MIGRATION_H_
#define POSTERN_SERVICES_STORAGE_SQL_MIGRATION_H_

#include "absl/strings/string_view.h"

namespace postern::storage {

struct Migration {
  int version;  // 1, 2, 3 ...
  absl::string_view sql;
};

}  // namespace postern::storage

#endif  // POSTERN_SERVICES_STORAGE_SQL_MIGRATION_H_
