#include "services/process/service_main.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/config/config.h"
#include "services/process/config_files.h"
#include "services/process/ports_file.h"
#include "services/process/stop_signals.h"
#include "services/process/version.h"
#include "services/telemetry/health.h"
#include "services/telemetry/http_server.h"
#include "services/telemetry/log.h"

namespace postern::process {
namespace {

constexpr int kOk = 0;
constexpr int kCouldNotStart = 1;
constexpr int kBadInput = 2;
// A service whose Drain overruns its grace by this is beyond help.
constexpr absl::Duration kDrainOverrun = absl::Seconds(10);
constexpr int kLongestWaitSeconds = 3600;
constexpr absl::Duration kMigrateAgain = absl::Milliseconds(500);
// Octets. A body's piece (kMaxChunkOctets) is given back to the system as soon as it is free.
constexpr int kMmapThreshold = 128 << 10;
constexpr int kMallocArenas = 2;

struct Flags {
  enum class Do { kServe, kCheck, kPrint, kMigrate, kCopyDatabase };
  Do what = Do::kServe;
  std::string file;
  // Of kCopyDatabase.
  std::string from_file;
  // Of kMigrate: seconds.
  int wait = 0;
  telemetry::LogFormat log_format = telemetry::LogFormat::kJson;
};

// The flags, or the exit code when there is nothing left to do.
absl::StatusOr<Flags> ParseFlags(int argc, char** argv, absl::string_view service,
                                 const Commands& commands, int* exit_code) {
  CLI::App app(absl::StrCat(service, ", a part of Postern"), std::string(service));
  std::string config;
  std::string check;
  std::string print;
  std::string log_format = "json";
  CLI::Option* config_flag = app.add_option("--config", config, "The configuration file (YAML).");
  CLI::Option* check_flag =
      app.add_option("--check-config", check, "Only check this configuration file.");
  CLI::Option* print_flag = app.add_option(
      "--print-config", print, "Only print this configuration with its defaults, without secrets.");
  for (CLI::Option* flag : {config_flag, check_flag, print_flag}) {
    flag->type_name("FILE");
  }
  // "--config FILE --check-config" says the same as "--check-config FILE".
  check_flag->expected(0, 1);
  print_flag->expected(0, 1)->excludes(check_flag);
  app.add_option("--log-format", log_format, "json, or text for people.")
      ->check(CLI::IsMember({"json", "text"}));
  Flags flags;
  CLI::App* migrate = nullptr;
  if (commands.migrate != nullptr) {
    migrate = app.add_subcommand("migrate", "Bring the PostgreSQL schema up to date, and end.");
    migrate->fallthrough();
    migrate
        ->add_option("--wait", flags.wait,
                     "How long to wait for a server that can't be reached (default: not at all).")
        ->type_name("SECONDS")
        ->check(CLI::Range(0, kLongestWaitSeconds));
  }
  CLI::App* copy = nullptr;
  if (commands.copy_database != nullptr) {
    copy =
        app.add_subcommand("copy-database",
                           "Copy all data from where the configuration --from has it (SQLite or "
                           "PostgreSQL) to where --config has it (the other), compare every row, "
                           "and end. The service is stopped; where it goes is empty.");
    copy->fallthrough();
    copy->add_option("--from", flags.from_file, "The configuration of where the data is now.")
        ->type_name("FILE")
        ->required();
  }
  app.set_version_flag("--version", absl::StrCat(service, " ", kVersion));
  try {
    app.parse(argc, argv);
    if (*check_flag) {
      flags.what = Flags::Do::kCheck;
      flags.file = check;
    } else if (*print_flag) {
      flags.what = Flags::Do::kPrint;
      flags.file = print;
    }
    if (flags.file.empty()) {
      flags.file = config;
    }
    if (migrate != nullptr && *migrate) flags.what = Flags::Do::kMigrate;
    if (copy != nullptr && *copy) flags.what = Flags::Do::kCopyDatabase;
    if (flags.file.empty()) {
      throw CLI::RequiredError("--config FILE");
    }
  } catch (const CLI::ParseError& e) {
    // Help and version are "errors" with code 0 to CLI11.
    *exit_code = app.exit(e) == 0 ? kOk : kBadInput;
    return absl::CancelledError();
  }
  flags.log_format =
      log_format == "text" ? telemetry::LogFormat::kText : telemetry::LogFormat::kJson;
  return flags;
}

int Complain(absl::string_view service, absl::string_view why, int code) {
  std::fprintf(stderr, "%s\n", absl::StrCat(service, ": ", why).c_str());
  return code;
}

absl::Status CheckConfig(const std::string& file, google::protobuf::Message* config,
                         const std::function<const config::v1::Process&()>& process,
                         const std::function<absl::Status()>& check, telemetry::LogLevel* level) {
  if (absl::Status status = config::LoadConfig(file, config); !status.ok()) {
    return status;
  }
  if (!telemetry::ParseLogLevel(process().log_level(), level)) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": process.log_level: found \"", process().log_level(),
                     "\", expected one of debug, info, warning, error"));
  }
  if (check != nullptr) {
    if (const absl::Status status = check(); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(file, ": ", status.message()));
    }
  }
  return absl::OkStatus();
}

// The first pod of a release may come before its database can be reached.
absl::StatusOr<std::string> MigratePatiently(
    const std::function<absl::StatusOr<std::string>()>& migrate, absl::Time until,
    absl::string_view service) {
  absl::StatusOr<std::string> done = migrate();
  if (absl::IsUnavailable(done.status()) && absl::Now() < until) {
    Complain(service, absl::StrCat("waits: ", done.status().message()), kOk);
  }
  while (absl::IsUnavailable(done.status()) && absl::Now() < until) {
    absl::SleepFor(kMigrateAgain);
    done = migrate();
  }
  return done;
}

// While the service drains: a second signal, or a drain that doesn't end, ends the process.
class DrainWatch {
 public:
  DrainWatch(const StopSignals& signals, absl::Duration limit)
      : thread_([this, &signals, limit] {
          const std::optional<int> signal = signals.WaitFor(limit);
          if (!done_.load()) {
            telemetry::Log(telemetry::LogLevel::kError,
                           signal.has_value() ? "stopped at once by a second signal"
                                              : "stopped at once: the drain overran its grace");
            telemetry::FlushLog();
            _exit(kCouldNotStart);
          }
        }) {}
  ~DrainWatch() {
    done_.store(true);
    // Blocked, and what the thread waits for.
    // NOLINTNEXTLINE(bugprone-bad-signal-to-kill-thread)
    pthread_kill(thread_.native_handle(), SIGTERM);
    thread_.join();
  }

 private:
  std::atomic<bool> done_{false};
  std::thread thread_;
};

// Many hosts give 1024 by default and allow far more: what a process may open is bounded by its own
// settings.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    telemetry::Log(telemetry::LogLevel::kWarning, "the limit of open files stays as it is",
                   {{"why", strerror(errno)}});
  }
}

// What is wrong with a setting, with the file and line where it stands.
std::string WithPlace(absl::string_view file, const google::protobuf::Message& config,
                      absl::string_view why) {
  const absl::string_view key = why.substr(0, why.find(": "));
  if (config.GetDescriptor()->FindFieldByName(std::string(key)) == nullptr) return std::string(why);
  return absl::StrCat(config::PlaceOf(file, key), why.substr(key.size()));
}

int Serve(const config::v1::Process& process, const StopSignals& signals,
          const std::function<absl::StatusOr<std::unique_ptr<RunningService>>()>& make,
          const std::function<std::string(absl::string_view)>& with_place) {
  const auto fail = [&with_place](const absl::Status& status) {
    telemetry::Log(telemetry::LogLevel::kError, "could not start",
                   {{"why", with_place(status.message())}});
    return kCouldNotStart;
  };
  telemetry::Health health;
  auto http = telemetry::HttpServer::Start(
      process.http().address(), process.http().port(),
      [&health](absl::string_view path) { return health.Answer(path); });
  if (!http.ok()) {
    return fail(http.status());
  }
  telemetry::Log(telemetry::LogLevel::kInfo, "http listening",
                 {{"address", process.http().address()}, {"port", (*http)->port()}});
  // What an earlier process left there is not true any more.
  if (!process.ports_file().empty()) {
    std::remove(process.ports_file().c_str());
  }
  absl::StatusOr<std::unique_ptr<RunningService>> running = make();
  if (!running.ok()) {
    return fail(running.status());
  }
  RunningService* const started = running->get();
  health.Started([started] { return started->Ready(); });
  if (!process.ports_file().empty()) {
    const absl::Status status =
        WritePortsFile(process.ports_file(), PortsJson((*http)->port(), started->Ports()));
    if (!status.ok()) {
      health.Draining();
      started->Drain(absl::ZeroDuration());
      return fail(status);
    }
  }
  for (const auto& [name, port] : started->Ports()) {
    telemetry::Log(telemetry::LogLevel::kInfo, "listening", {{"listener", name}, {"port", port}});
  }
  telemetry::Log(telemetry::LogLevel::kInfo, "started", {{"version", kVersion}, {"pid", getpid()}});

  const int signal = signals.Wait();
  const absl::Duration grace = absl::Seconds(process.drain_grace_seconds());
  telemetry::Log(telemetry::LogLevel::kInfo, "draining",
                 {{"signal", signal == SIGTERM ? "SIGTERM" : "SIGINT"},
                  {"grace_seconds", process.drain_grace_seconds()}});
  {
    const DrainWatch watch(signals, grace + kDrainOverrun);
    health.Draining();
    started->Drain(grace);
    running->reset();
  }
  if (!process.ports_file().empty()) {
    std::remove(process.ports_file().c_str());
  }
  telemetry::Log(telemetry::LogLevel::kInfo, "stopped");
  return kOk;
}

}  // namespace

int ServiceMain(int argc, char** argv, absl::string_view service, google::protobuf::Message* config,
                const std::function<const config::v1::Process&()>& process,
                const std::function<absl::Status()>& check,
                const std::function<absl::StatusOr<std::unique_ptr<RunningService>>()>& make,
                const Commands& commands) {
  // gRPC's threads are still there when main returns, perhaps in a handshake: OpenSSL must not take
  // down under them, in exit(), what they use.
  OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr);
  // Before any thread.
  StopSignals signals;
  std::signal(SIGPIPE, SIG_IGN);

  int exit_code = kOk;
  const absl::StatusOr<Flags> flags = ParseFlags(argc, argv, service, commands, &exit_code);
  if (!flags.ok()) {
    return exit_code;
  }
  telemetry::LogLevel level = telemetry::LogLevel::kInfo;
  if (absl::Status status = CheckConfig(flags->file, config, process, check, &level);
      !status.ok()) {
    return Complain(service, status.message(), kBadInput);
  }
  const auto with_place = [&](absl::string_view why) {
    return WithPlace(flags->file, *config, why);
  };
  switch (flags->what) {
    case Flags::Do::kCheck: {
      const std::vector<FileFault> faults = CheckFiles(*config, absl::Now());
      for (const FileFault& fault : faults) {
        Complain(service, absl::StrCat(config::PlaceOf(flags->file, fault.key), ": ", fault.why),
                 kBadInput);
      }
      if (!faults.empty()) return kBadInput;
      std::printf("%s: good\n", flags->file.c_str());
      return kOk;
    }
    case Flags::Do::kPrint:
      std::fputs(config::PrintConfig(*config).c_str(), stdout);
      return kOk;
    case Flags::Do::kMigrate: {
      // A migration is one transaction: an interruption undoes it.
      signals.Unblock();
      const absl::StatusOr<std::string> done =
          MigratePatiently(commands.migrate, absl::Now() + absl::Seconds(flags->wait), service);
      if (!done.ok()) {
        return Complain(service, with_place(done.status().message()), kCouldNotStart);
      }
      std::printf("%s\n", done->c_str());
      return kOk;
    }
    case Flags::Do::kCopyDatabase: {
      telemetry::LogLevel unused;
      if (absl::Status status = CheckConfig(flags->from_file, commands.from, commands.from_process,
                                            commands.from_check, &unused);
          !status.ok()) {
        return Complain(service, status.message(), kBadInput);
      }
      // An interruption ends it at once: nothing counts before the end.
      signals.Unblock();
      const absl::StatusOr<std::string> done =
          commands.copy_database([&](absl::string_view line) { Complain(service, line, kOk); });
      if (!done.ok()) return Complain(service, done.status().message(), kCouldNotStart);
      std::printf("%s\n", done->c_str());
      return kOk;
    }
    case Flags::Do::kServe:
      break;
  }
  // Debian's Abseil is built with its deadlock detection on: a graph under a global lock, looked up
  // at every lock of every mutex, gRPC's included. The sanitizers' builds look for deadlocks.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  // Left to itself, glibc raises the threshold to the size of a body's pieces, and keeps what they
  // and gRPC's buffers took in as many heaps as there are threads: megabytes more at the peak, and
  // no throughput for it.
  mallopt(M_ARENA_MAX, kMallocArenas);
  mallopt(M_MMAP_THRESHOLD, kMmapThreshold);
  telemetry::InitLogging(service, level, flags->log_format);
  RaiseDescriptorLimit();
  exit_code = Serve(process(), signals, make, with_place);
  telemetry::FlushLog();
  return exit_code;
}

}  // namespace postern::process
