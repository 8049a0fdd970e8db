#include "services/storage/postgresql/database.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "services/telemetry/log.h"

namespace postern::storage::postgresql {
namespace {

using telemetry::Log;
using telemetry::LogLevel;

constexpr absl::Duration kInterval = absl::Seconds(1);
// A statement of the watch's; a second later a silent server is left.
constexpr absl::Duration kProbeTime = absl::Seconds(1);
// Its commit waits for what every commit waits for: the log's disk, the synchronous standby. It
// leaves nothing but a record of the log.
constexpr char kProbe[] = "SELECT pg_logical_emit_message(true, 'postern', '') IS NOT NULL";
// As long as the longest statement of an operator's command may take: a migration's.
constexpr absl::Duration kCommandTime = absl::Hours(6);
// PostgreSQL 12 has no support any more, and is tested nowhere.
constexpr int kOldestVersion = 130000;

Server ServerOf(const config::v1::PostgreSql& config, absl::string_view service) {
  Server server;
  server.hosts.assign(config.hosts().begin(), config.hosts().end());
  server.database = config.database();
  server.user = config.user();
  server.password_file = config.password_file();
  server.ca_file = config.ca_file();
  server.certificate_file = config.certificate_file();
  server.private_key_file = config.private_key_file();
  server.statement_timeout = absl::Seconds(config.statement_timeout_seconds());
  server.application = std::string(service);
  return server;
}

// Begins with the setting that names it, as what the connection says does already.
absl::Status Wrong(const absl::Status& status) {
  if (absl::StartsWith(status.message(), "postgresql: ")) return status;
  return absl::Status(status.code(), absl::StrCat("postgresql: ", status.message()));
}

absl::StatusOr<std::string> Setting(Connection& connection, absl::string_view name) {
  absl::StatusOr<std::unique_ptr<SqlRows>> rows =
      connection.Run("SELECT current_setting($1)", {SqlValue::Text(name)});
  if (!rows.ok()) return rows.status();
  return std::string((*rows)->Octets(0, 0));
}

absl::Status CheckServer(Connection& connection, const config::v1::PostgreSql& config,
                         absl::string_view service) {
  if (connection.server_version() < kOldestVersion) {
    return absl::FailedPreconditionError(absl::StrCat("the server is PostgreSQL ",
                                                      connection.server_version() / 10000,
                                                      ", at least 13 is wanted"));
  }
  for (const absl::string_view name : {"fsync", "full_page_writes"}) {
    const absl::StatusOr<std::string> value = Setting(connection, name);
    if (!value.ok()) return value.status();
    if (*value != "on" && !config.allow_unsafe_durability()) {
      return absl::FailedPreconditionError(
          absl::StrCat("the server has ", name, " = ", *value,
                       ": it may lose what it committed (allow_unsafe_durability takes it)"));
    }
  }
  absl::StatusOr<std::unique_ptr<SqlRows>> role = connection.Run(
      "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication "
      "FROM pg_roles WHERE rolname = current_user",
      {});
  if (!role.ok()) return role.status();
  if ((*role)->size() == 1 && (*role)->Int(0, 0) != 0) {
    Log(LogLevel::kWarning, "the database role may do more than it needs",
        {{"user", config.user()}, {"service", service}});
  }
  return absl::OkStatus();
}

}  // namespace

Database::Database(const config::v1::PostgreSql& config, std::string service,
                   absl::Span<const Migration> migrations)
    : config_(config),
      service_(std::move(service)),
      migrations_(migrations),
      pool_(ServerOf(config, service_),
            {.max_connections = static_cast<size_t>(config.max_connections())}) {}

Database::~Database() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (watch_.joinable()) watch_.join();
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const config::v1::PostgreSql& config,
                                                         std::string service,
                                                         absl::Span<const Migration> migrations) {
  std::unique_ptr<Database> database(new Database(config, std::move(service), migrations));
  const absl::Status first = database->Examine();
  if (!first.ok() && !absl::IsUnavailable(first)) return Wrong(first);
  if (!first.ok()) {
    Log(LogLevel::kWarning, "the database can't be reached yet", {{"status", first.message()}});
  }
  {
    absl::MutexLock lock(&database->mutex_);
    database->state_ = first;
    database->examined_ = first.ok();
  }
  database->pool_.SetState(first);
  database->watch_ = std::thread([raw = database.get()] { raw->Watch(); });
  return database;
}

absl::Status Database::Examine() {
  absl::StatusOr<std::unique_ptr<Connection>> connection =
      Connection::Open(ServerOf(config_, service_));
  if (!connection.ok()) return connection.status();
  absl::Status status = CheckServer(**connection, config_, service_);
  if (status.ok()) status = CheckSchema(**connection, service_, migrations_);
  return status;
}

absl::Status Database::Probe() {
  // One that a restart broke says nothing of the server that is there now.
  if (probe_ == nullptr || !probe_->StillGood()) {
    Server server = ServerOf(config_, service_);
    server.connect_timeout = kProbeTime;
    server.statement_timeout = kProbeTime;
    absl::StatusOr<std::unique_ptr<Connection>> connection = Connection::Open(server);
    if (!connection.ok()) return connection.status();
    probe_ = *std::move(connection);
  }
  return probe_->Run(kProbe, {}).status();
}

void Database::Watch() {
  while (true) {
    bool examined;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kInterval);
      if (stopping_) return;
      examined = examined_;
    }
    const absl::Status now = examined ? Probe() : Examine();
    pool_.SetState(now.ok() ? now : absl::UnavailableError(now.message()));
    absl::MutexLock lock(&mutex_);
    examined_ = examined_ || now.ok();
    if (now.ok() != state_.ok()) {
      Log(now.ok() ? LogLevel::kInfo : LogLevel::kWarning,
          now.ok() ? "the database answers" : "the database does not answer",
          {{"status", now.ToString()}});
    }
    state_ = now;
  }
}

absl::Status Database::Ready() const {
  absl::MutexLock lock(&mutex_);
  return state_;
}

absl::Status CheckOneDatabase(bool has_postgresql, bool has_database_file) {
  if (has_postgresql != has_database_file) return absl::OkStatus();
  return absl::InvalidArgumentError(
      has_postgresql ? "database_file: stands beside postgresql, and one of them is the database"
                     : "database_file: absent, and so is postgresql");
}

absl::StatusOr<std::unique_ptr<Connection>> Connect(const config::v1::PostgreSql& config,
                                                    absl::string_view service) {
  Server server = ServerOf(config, service);
  server.statement_timeout = kCommandTime;
  absl::StatusOr<std::unique_ptr<Connection>> connection = Connection::Open(server);
  if (!connection.ok()) return Wrong(connection.status());
  return connection;
}

absl::Status NothingToMigrate() {
  return absl::InvalidArgumentError("database_file: is migrated whenever it is opened");
}

absl::StatusOr<std::string> MigrateDatabase(const config::v1::PostgreSql& config,
                                            absl::string_view service,
                                            absl::Span<const Migration> migrations) {
  absl::StatusOr<std::unique_ptr<Connection>> connection = Connect(config, service);
  if (!connection.ok()) return connection.status();
  absl::StatusOr<int> applied = Migrate(**connection, service, migrations);
  if (!applied.ok()) return Wrong(applied.status());
  return *applied == 0
             ? absl::StrCat("the schema has version ", migrations.back().version, " already")
             : absl::StrCat("migrated to version ", migrations.back().version, " (", *applied,
                            " applied)");
}

}  // namespace postern::storage::postgresql
