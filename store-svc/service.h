// store-svc, put together: where mail lives.
#ifndef POSTERN_STORE_SVC_SERVICE_H_
#define POSTERN_STORE_SVC_SERVICE_H_

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/process/service_main.h"

namespace postern::config::v1 {
class StoreSvc;
}  // namespace postern::config::v1

namespace postern::store {

// What the rules of the fields can't say. INVALID_ARGUMENT names the setting.
absl::Status CheckConfig(const config::v1::StoreSvc& config);

// Brings the PostgreSQL schema up to date; says what it did.
absl::StatusOr<std::string> Migrate(const config::v1::StoreSvc& config);

// `store-svc copy-database`: as storage::copy::CopyDatabase.
absl::StatusOr<std::string> CopyDatabase(const config::v1::StoreSvc& from,
                                         const config::v1::StoreSvc& to,
                                         absl::FunctionRef<void(absl::string_view)> say);

// Opens the database and listens.
absl::StatusOr<std::unique_ptr<process::RunningService>> MakeService(
    const config::v1::StoreSvc& config);

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_SERVICE_H_
