#include "store-svc/service.h"

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "grpcpp/impl/codegen/service_type.h"
#include "proto/postern/config/v1/store_svc.pb.h"
#include "services/identity/token.h"
#include "services/process/clock.h"
#include "services/process/worker_pool.h"
#include "services/rpc/server.h"
#include "services/storage/copy/copy_database.h"
#include "services/storage/postgresql/database.h"
#include "store-svc/copy/copied_mail.h"
#include "store-svc/domain/lease_table.h"
#include "store-svc/domain/leases.h"
#include "store-svc/domain/mail_store.h"
#include "store-svc/domain/retention.h"
#include "store-svc/postgresql/postgresql_leases.h"
#include "store-svc/postgresql/postgresql_mail_store.h"
#include "store-svc/rpc/admin_service.h"
#include "store-svc/rpc/delivery_service.h"
#include "store-svc/rpc/maildrop_service.h"
#include "store-svc/rpc/store_metrics.h"
#include "store-svc/sqlite/sqlite_mail_store.h"

namespace postern::store {
namespace {

using config::v1::StoreSvc;

// Reads that may wait for a thread; one more is UNAVAILABLE.
constexpr size_t kMaxWaitingReads = 10000;
constexpr absl::Duration kRetentionInterval = absl::Seconds(30);
constexpr char kService[] = "store-svc";

// Each uses those before it.
struct OpenedStore {
  // What the mail is in; null when that is a file.
  std::unique_ptr<storage::postgresql::Database> database;
  std::unique_ptr<MailStore> store;
  std::unique_ptr<Leases> leases;
};

// That run at the same time: of the store's writers, the leases and their heartbeat, and readers.
int MaxConnections(const StoreSvc& config) {
  return static_cast<int>(kMailStoreWriters + PostgresqlLeases::kThreads) + 1 +
         config.read_threads();
}

absl::StatusOr<OpenedStore> OpenPostgresql(const StoreSvc& config) {
  absl::StatusOr<std::unique_ptr<storage::postgresql::Database>> database =
      storage::postgresql::Database::Open(config.postgresql(), kService, MailMigrations());
  if (!database.ok()) return database.status();
  OpenedStore opened;
  opened.database = *std::move(database);
  opened.store =
      MakePostgresqlMailStore(&opened.database->pool(),
                              {.quota = {static_cast<uint64_t>(config.quota_messages()),
                                         static_cast<uint64_t>(config.quota_octets())},
                               .max_waiting = static_cast<size_t>(config.max_waiting_deliveries())},
                              process::SystemClock());
  opened.leases = std::make_unique<PostgresqlLeases>(
      &opened.database->pool(),
      PostgresqlLeases::Options{.grace = absl::Seconds(config.lease_grace_seconds())});
  return opened;
}

absl::StatusOr<OpenedStore> OpenSqlite(const StoreSvc& config) {
  absl::StatusOr<OpenedMailStore> file =
      OpenSqliteMailStore({.file = config.database_file(),
                           .quota_messages = static_cast<uint64_t>(config.quota_messages()),
                           .quota_octets = static_cast<uint64_t>(config.quota_octets()),
                           .max_waiting = static_cast<size_t>(config.max_waiting_deliveries()),
                           .readers = static_cast<size_t>(config.read_threads()) + 1},
                          process::SystemClock());
  if (!file.ok()) return file.status();
  OpenedStore opened;
  opened.store = std::move(file->store);
  opened.leases = std::make_unique<LeaseTable>(
      LeaseTable::Options{.grace = absl::Seconds(config.lease_grace_seconds()),
                          .epoch = file->lease_epoch},
      process::SystemClock());
  return opened;
}

class StoreService final : public process::RunningService {
 public:
  StoreService(const StoreSvc& config, OpenedStore opened,
               std::unique_ptr<identity::TokenVerifier> verifier)
      : database_(std::move(opened.database)),
        store_(std::move(opened.store)),
        leases_(std::move(opened.leases)),
        verifier_(std::move(verifier)),
        pool_(config.read_threads(), kMaxWaitingReads),
        delivery_(store_.get(), &pool_,
                  {.max_message_octets = static_cast<uint64_t>(config.max_message_octets())}),
        admin_(MakeStoreAdminService(store_.get(), &pool_)),
        maildrop_({.store = store_.get(),
                   .leases = leases_.get(),
                   .verifier = verifier_.get(),
                   .pool = &pool_,
                   .clock = process::SystemClock()}),
        retention_(store_.get(), process::SystemClock(),
                   absl::Seconds(config.delivery_id_retention_seconds()), kRetentionInterval) {
    Metrics();  // A rate misses what made its counter appear.
  }

  absl::Status Listen(const StoreSvc& config) {
    absl::StatusOr<std::unique_ptr<rpc::RpcServer>> server =
        rpc::RpcServer::Start(config.rpc(), config.process().mtls(),
                              {delivery_.service(), maildrop_.service(), admin_.get()});
    if (!server.ok()) return server.status();
    server_ = *std::move(server);
    return absl::OkStatus();
  }

  absl::Status Ready() override {
    return database_ != nullptr ? database_->Ready() : store_->Check();
  }

  std::map<std::string, int> Ports() const override { return {{"rpc", server_->port()}}; }

  void Drain(absl::Duration grace) override {
    delivery_.EndStreams();
    maildrop_.EndStreams();
    server_->Drain(grace);
  }

 private:
  // Each uses those before it, and ends before them.
  const std::unique_ptr<storage::postgresql::Database> database_;
  const std::unique_ptr<MailStore> store_;
  const std::unique_ptr<Leases> leases_;
  const std::unique_ptr<identity::TokenVerifier> verifier_;
  process::WorkerPool pool_;
  DeliveryServer delivery_;
  const std::unique_ptr<grpc::Service> admin_;
  MaildropServer maildrop_;
  Retention retention_;
  std::unique_ptr<rpc::RpcServer> server_;
};

}  // namespace

absl::Status CheckConfig(const StoreSvc& config) {
  if (absl::Status status = storage::postgresql::CheckOneDatabase(config.has_postgresql(),
                                                                  config.has_database_file());
      !status.ok()) {
    return status;
  }
  const int connections = MaxConnections(config);
  if (config.has_postgresql() && config.postgresql().max_connections() < connections) {
    return absl::InvalidArgumentError(
        absl::StrCat("postgresql.max_connections: ", config.postgresql().max_connections(),
                     ", and with read_threads = ", config.read_threads(), " at least ", connections,
                     " are used at the same time"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Migrate(const StoreSvc& config) {
  return config.has_postgresql()
             ? storage::postgresql::MigrateDatabase(config.postgresql(), kService, MailMigrations())
             : storage::postgresql::NothingToMigrate();
}

absl::StatusOr<std::string> CopyDatabase(const config::v1::StoreSvc& from,
                                         const config::v1::StoreSvc& to,
                                         absl::FunctionRef<void(absl::string_view)> say) {
  return storage::copy::CopyDatabase(CopiedMail(), storage::copy::PlaceOf(from),
                                     storage::copy::PlaceOf(to), say);
}

absl::StatusOr<std::unique_ptr<process::RunningService>> MakeService(const StoreSvc& config) {
  absl::StatusOr<std::unique_ptr<identity::TokenVerifier>> verifier =
      identity::TokenVerifier::Open(config.token_verification_keys_file());
  if (!verifier.ok()) return verifier.status();
  absl::StatusOr<OpenedStore> opened =
      config.has_postgresql() ? OpenPostgresql(config) : OpenSqlite(config);
  if (!opened.ok()) return opened.status();
  auto service = std::make_unique<StoreService>(config, *std::move(opened), *std::move(verifier));
  if (absl::Status status = service->Listen(config); !status.ok()) return status;
  return service;
}

}  // namespace postern::store
