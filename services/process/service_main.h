// What main() of every deployable does: flags, configuration, logs, metrics, health, signals,
// drain. A main.cc only wires:
//
//   int main(int argc, char** argv) {
//     return process::ServiceMain<postern::config::v1::StoreSvc>(argc, argv, "store-svc",
//     &postern::store::MakeService);
//   }
#ifndef POSTERN_SERVICES_PROCESS_SERVICE_MAIN_H_
#define POSTERN_SERVICES_PROCESS_SERVICE_MAIN_H_

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace google::protobuf {
class Message;
}  // namespace google::protobuf

namespace postern::config::v1 {
class Process;
}  // namespace postern::config::v1

namespace postern::process {

// A running deployable. Made on the main thread after logging is up; destroyed after Drain.
class RunningService {
 public:
  virtual ~RunningService() = default;

  // /readyz asks it, from the HTTP thread: OK, or why not (one line).
  virtual absl::Status Ready() = 0;

  // Bound ports by name: "rpc", or a listener's name. For the ports file.
  virtual std::map<std::string, int> Ports() const = 0;

  // SIGTERM or SIGINT: no new sessions or calls, running ones finish, at most `grace`. Blocks.
  // /readyz already says no. A second signal exits at once.
  virtual void Drain(absl::Duration grace) = 0;
};

// An operator's commands, beside serving: each does its work and ends. nullptr: there is no such
// command. They say what they did, for people.
struct Commands {
  // `SERVICE migrate --config FILE`
  std::function<absl::StatusOr<std::string>()> migrate;
  // `SERVICE copy-database --config FILE --from FILE2`: from where the service of FILE2 has its
  // data to where that of FILE is to have it; `say` takes what it is at, a line each.
  std::function<absl::StatusOr<std::string>(absl::FunctionRef<void(absl::string_view)> say)>
      copy_database;
  // FILE2, filled and judged as the configuration itself.
  google::protobuf::Message* from = nullptr;
  std::function<const config::v1::Process&()> from_process;
  std::function<absl::Status()> from_check;
};

// Flags: --config FILE, --check-config [FILE], --print-config [FILE] (without a FILE: --config's;
// --check-config also opens the files that it names, config_files.h), --log-format json|text,
// --version, --help. Exit codes: 0 drained, checked or done, 1 could not start or do it, 2 bad
// command line or configuration. `config` is filled from the file; `process` reads its Process
// part; `check` (may be null) judges what the rules of a field can't, INVALID_ARGUMENT naming the
// setting; `make` starts the service.
int ServiceMain(int argc, char** argv, absl::string_view service, google::protobuf::Message* config,
                const std::function<const config::v1::Process&()>& process,
                const std::function<absl::Status()>& check,
                const std::function<absl::StatusOr<std::unique_ptr<RunningService>>()>& make,
                const Commands& commands);

template <typename Config>
int ServiceMain(int argc, char** argv, absl::string_view service,
                absl::Status (*check)(const Config&),
                absl::StatusOr<std::unique_ptr<RunningService>> (*make)(const Config&),
                absl::StatusOr<std::string> (*migrate)(const Config&) = nullptr,
                absl::StatusOr<std::string> (*copy_database)(
                    const Config& from, const Config& to,
                    absl::FunctionRef<void(absl::string_view)> say) = nullptr) {
  Config config;
  Config from;
  Commands commands;
  if (migrate != nullptr) commands.migrate = [&config, migrate] { return migrate(config); };
  if (copy_database != nullptr) {
    commands.copy_database = [&config, &from,
                              copy_database](absl::FunctionRef<void(absl::string_view)> say) {
      return copy_database(from, config, say);
    };
    commands.from = &from;
    commands.from_process = [&from]() -> const config::v1::Process& { return from.process(); };
    commands.from_check = [&from, check] {
      return check != nullptr ? check(from) : absl::OkStatus();
    };
  }
  return ServiceMain(
      argc, argv, service, &config,
      [&config]() -> const config::v1::Process& { return config.process(); },
      [&config, check] { return check != nullptr ? check(config) : absl::OkStatus(); },
      [&config, make] { return make(config); }, commands);
}

}  // namespace postern::process

#endif  // POSTERN_SERVICES_PROCESS_SERVICE_MAIN_H_
