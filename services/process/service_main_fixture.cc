// A deployable for service_main_test.cc: what it does when it drains stands in database_file.
#include <openssl/ssl.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "proto/postern/config/v1/store_svc.pb.h"
#include "services/process/service_main.h"

namespace postern::process {
namespace {

using config::v1::StoreSvc;

class Fixture final : public RunningService {
 public:
  explicit Fixture(absl::string_view mode) : mode_(mode) {}
  absl::Status Ready() override {
    return mode_ == "unready" ? absl::UnavailableError("the database is away") : absl::OkStatus();
  }
  std::map<std::string, int> Ports() const override { return {{"rpc", 1234}, {"mx \"1\"", 25}}; }
  void Drain(absl::Duration) override {
    if (mode_ == "hang") {
      absl::Notification().WaitForNotification();
    }
  }

 private:
  const std::string mode_;
};

absl::Status Check(const StoreSvc& config) {
  return config.database_file() == "refused"
             ? absl::InvalidArgumentError("database_file: is refused")
             : absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<RunningService>> Make(const StoreSvc& config) {
  OPENSSL_init_ssl(0, nullptr);
  OPENSSL_atexit([] { std::fputs("OpenSSL is taken down\n", stderr); });
  if (config.database_file() == "fail") {
    return absl::InternalError("the database can't be opened");
  }
  if (config.database_file() == "misplaced") {
    return absl::FailedPreconditionError("database_file: is on fire");
  }
  return std::make_unique<Fixture>(config.database_file());
}

// Its database can't be reached while there is no such file.
absl::StatusOr<std::string> Migrate(const StoreSvc& config) {
  if (!std::filesystem::exists(config.database_file())) return absl::UnavailableError("is away");
  return config.database_file();
}

absl::StatusOr<std::string> Copy(const StoreSvc& from, const StoreSvc& to,
                                 absl::FunctionRef<void(absl::string_view)> say) {
  if (to.database_file() == "fail") return absl::FailedPreconditionError("there is no room");
  say("copying");
  return absl::StrCat(from.database_file(), " to ", to.database_file());
}

}  // namespace
}  // namespace postern::process

int main(int argc, char** argv) {
  return postern::process::ServiceMain<postern::config::v1::StoreSvc>(
      argc, argv, "fixture", &postern::process::Check, &postern::process::Make,
      &postern::process::Migrate, &postern::process::Copy);
}
