// store-svc: where mail lives.
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/impl/codegen/service_type.h"
#include "proto/postern/config/v1/store_svc.pb.h"
#include "services/identity/token.h"
#include "services/process/clock.h"
#include "services/process/service_main.h"
#include "services/process/worker_pool.h"
#include "services/rpc/server.h"
#include "store-svc/domain/lease_table.h"
#include "store-svc/domain/mail_store.h"
#include "store-svc/domain/retention.h"
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

class StoreService final : public process::RunningService {
 public:
  StoreService(const StoreSvc& config, OpenedMailStore opened,
               std::unique_ptr<identity::TokenVerifier> verifier)
      : store_(std::move(opened.store)),
        verifier_(std::move(verifier)),
        leases_({.grace = absl::Seconds(config.lease_grace_seconds()), .epoch = opened.lease_epoch},
                process::SystemClock()),
        pool_(config.read_threads(), kMaxWaitingReads),
        delivery_(store_.get(), &pool_,
                  {.max_message_octets = static_cast<uint64_t>(config.max_message_octets())}),
        admin_(MakeStoreAdminService(store_.get(), &pool_)),
        maildrop_({.store = store_.get(),
                   .leases = &leases_,
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

  absl::Status Ready() override { return store_->Check(); }

  std::map<std::string, int> Ports() const override { return {{"rpc", server_->port()}}; }

  void Drain(absl::Duration grace) override {
    delivery_.EndStreams();
    maildrop_.EndStreams();
    server_->Drain(grace);
  }

 private:
  // Each uses those before it, and ends before them.
  const std::unique_ptr<MailStore> store_;
  const std::unique_ptr<identity::TokenVerifier> verifier_;
  LeaseTable leases_;
  process::WorkerPool pool_;
  DeliveryServer delivery_;
  const std::unique_ptr<grpc::Service> admin_;
  MaildropServer maildrop_;
  Retention retention_;
  std::unique_ptr<rpc::RpcServer> server_;
};

absl::StatusOr<std::unique_ptr<process::RunningService>> MakeService(const StoreSvc& config) {
  absl::StatusOr<std::unique_ptr<identity::TokenVerifier>> verifier =
      identity::TokenVerifier::Open(config.token_verification_keys_file());
  if (!verifier.ok()) return verifier.status();
  absl::StatusOr<OpenedMailStore> opened =
      OpenSqliteMailStore({.file = config.database_file(),
                           .quota_messages = static_cast<uint64_t>(config.quota_messages()),
                           .quota_octets = static_cast<uint64_t>(config.quota_octets()),
                           .max_waiting = static_cast<size_t>(config.max_waiting_deliveries()),
                           .readers = static_cast<size_t>(config.read_threads()) + 1},
                          process::SystemClock());
  if (!opened.ok()) return opened.status();
  auto service = std::make_unique<StoreService>(config, *std::move(opened), *std::move(verifier));
  if (absl::Status status = service->Listen(config); !status.ok()) return status;
  return service;
}

}  // namespace
}  // namespace postern::store

int main(int argc, char** argv) {
  return postern::process::ServiceMain<postern::config::v1::StoreSvc>(
      argc, argv, "store-svc", nullptr, &postern::store::MakeService);
}
