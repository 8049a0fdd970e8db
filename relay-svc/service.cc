#include "relay-svc/service.h"

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "boost/asio/thread_pool.hpp"
#include "relay-svc/copy/copied_spool.h"
#include "relay-svc/dns/unbound_resolver.h"
#include "relay-svc/domain/destination.h"
#include "relay-svc/domain/local_delivery.h"
#include "relay-svc/domain/policy.h"
#include "relay-svc/domain/queue_runner.h"
#include "relay-svc/domain/submission.h"
#include "relay-svc/postgresql/postgresql_spool.h"
#include "relay-svc/rpc/policy_service.h"
#include "relay-svc/rpc/queue_admin_service.h"
#include "relay-svc/rpc/submission_service.h"
#include "relay-svc/smtp/inner_addresses.h"
#include "relay-svc/smtp/remote_delivery.h"
#include "relay-svc/sqlite/sqlite_spool.h"
#include "services/clients/auth_client.h"
#include "services/clients/store_client.h"
#include "services/identity/access.h"
#include "services/identity/token.h"
#include "services/limits/limits.h"
#include "services/limits/redis_limits.h"
#include "services/rpc/channel.h"
#include "services/rpc/server.h"
#include "services/storage/copy/copy_database.h"
#include "services/storage/postgresql/database.h"
#include "services/storage/redis/client.h"

namespace postern::relay {
namespace {

// Threads that answer RPCs: signatures, digests and compression run there.
constexpr int kRpcThreads = 4;
// Attempts that look names up, connect and wait for a greeting, beside the sessions: hosts that say
// nothing must not take what a live one needs.
constexpr int kMaxConnecting = 500;
constexpr absl::Duration kPingTime = absl::Seconds(2);
constexpr char kService[] = "relay-svc";
// That run at the same time.
constexpr int kConnections = static_cast<int>(kSpoolThreads);

RemoteDeliveryOptions RemoteOptions(const config::v1::Delivery& delivery) {
  RemoteDeliveryOptions options;
  options.routing.hostname = delivery.hostname();
  options.routing.mx_port = delivery.mx_port();
  for (const config::v1::NextHop& hop : delivery.next_hops()) {
    options.routing.next_hops[hop.domain()] = {hop.host(), hop.port()};
  }
  options.limits.connect_timeout = std::chrono::seconds(delivery.connect_timeout_seconds());
  options.limits.greeting_timeout = std::chrono::seconds(delivery.greeting_timeout_seconds());
  options.recipients_per_transaction = delivery.max_recipients_per_transaction();
  options.max_sessions = delivery.max_sessions();
  options.hosts.sessions_per_host = delivery.max_sessions_per_destination();
  // CheckConfig has read them.
  for (const std::string& network : delivery.allowed_private_networks()) {
    options.networks.allowed.push_back(*Network::Parse(network));
  }
  for (const std::string& network : delivery.own_addresses()) {
    options.networks.own.push_back(*Network::Parse(network));
  }
  for (const std::string& network : delivery.nat64_prefixes()) {
    options.networks.nat64.push_back(*Network::ParseNat64(network));
  }
  options.limits.reply_timeout = std::chrono::seconds(delivery.reply_timeout_seconds());
  return options;
}

QueueRunnerOptions RunnerOptions(const config::v1::RelaySvc& config) {
  const config::v1::Delivery& delivery = config.delivery();
  QueueRunnerOptions options;
  options.claim = absl::Seconds(config.claim_seconds());
  options.hostname = delivery.hostname();
  std::vector<absl::Duration> waits;
  for (const int64_t seconds : delivery.retry_seconds()) waits.push_back(absl::Seconds(seconds));
  options.schedule =
      RetrySchedule(std::move(waits), absl::Seconds(delivery.queue_lifetime_seconds()));
  if (delivery.delay_warning_seconds() > 0) {
    options.delay_warning = absl::Seconds(delivery.delay_warning_seconds());
  }
  options.max_sessions = delivery.max_sessions() + kMaxConnecting;
  options.max_sessions_per_destination = delivery.max_sessions_per_destination();
  return options;
}

std::optional<limits::Rate> RateOf(bool is_there, const config::v1::RateLimit& rate) {
  if (!is_there) return std::nullopt;
  return limits::Rate{rate.count(), absl::Seconds(rate.seconds())};
}

PolicyOptions PolicyOptionsOf(const config::v1::RelaySvc& config) {
  PolicyOptions options;
  options.ttl_seconds = static_cast<int>(config.policy_ttl_seconds());
  const config::v1::RateLimits& rates = config.rate_limits();
  options.connections =
      RateOf(rates.has_connections_per_network(), rates.connections_per_network());
  options.messages = RateOf(rates.has_messages_per_network(), rates.messages_per_network());
  const config::v1::Greylisting& greylisting = config.greylisting();
  if (greylisting.enabled()) {
    options.greylisting = {absl::Seconds(greylisting.delay_seconds()),
                           absl::Seconds(greylisting.retry_window_seconds()),
                           absl::Seconds(greylisting.pass_lifetime_seconds())};
  }
  return options;
}

class RelayService : public process::RunningService {
 public:
  // In the order in which they depend on each other; destroyed in the opposite one.
  std::unique_ptr<identity::TokenVerifier> verifier;
  std::unique_ptr<clients::DirectoryClient> directory;
  std::unique_ptr<clients::DeliveryClient> store;
  std::unique_ptr<limits::Limits> limits;
  std::unique_ptr<Resolver> resolver;
  std::unique_ptr<LocalDelivery> local;
  std::unique_ptr<RemoteDelivery> remote;
  // What the spool is in; null when that is a file.
  std::unique_ptr<storage::postgresql::Database> database;
  std::unique_ptr<Spool> spool;
  std::unique_ptr<QueueRunner> runner;
  std::unique_ptr<Policy> policy;
  SubmissionParts submission;
  SubmissionParts forwarding;
  boost::asio::thread_pool pool{kRpcThreads};
  std::unique_ptr<PolicyServiceAdapter> policy_rpc;
  std::unique_ptr<SubmissionServiceAdapter> submission_rpc;
  std::unique_ptr<ForwardingServiceAdapter> forwarding_rpc;
  std::unique_ptr<QueueAdminServiceAdapter> queue_admin_rpc;
  std::unique_ptr<rpc::RpcServer> server;

  absl::Status Ready() override {
    if (database != nullptr) return database->Ready();
    struct Answer {
      absl::Notification came;
      absl::Status status;
    };
    // Outlives a wait that was given up.
    auto answer = std::make_shared<Answer>();
    spool->Ping([answer](absl::Status status) {
      answer->status = std::move(status);
      answer->came.Notify();
    });
    if (!answer->came.WaitForNotificationWithTimeout(kPingTime)) {
      return absl::UnavailableError("the spool does not answer");
    }
    return answer->status;
  }

  std::map<std::string, int> Ports() const override { return {{"rpc", server->port()}}; }

  void Drain(absl::Duration grace) override {
    const absl::Time end = absl::Now() + grace;
    server->Drain(grace);
    runner->Drain(std::max(end - absl::Now(), absl::ZeroDuration()));
    pool.join();
  }
};

}  // namespace

absl::Status CheckConfig(const config::v1::RelaySvc& config) {
  if (absl::Status status = storage::postgresql::CheckOneDatabase(config.has_postgresql(),
                                                                  config.has_database_file());
      !status.ok()) {
    return status;
  }
  if (config.has_postgresql() && config.postgresql().max_connections() < kConnections) {
    return absl::InvalidArgumentError(
        absl::StrCat("postgresql.max_connections: ", config.postgresql().max_connections(),
                     ", and at least ", kConnections, " are used at the same time"));
  }
  if (config.has_redis()) {
    if (absl::Status status = storage::redis::CheckConfig(config.redis()); !status.ok()) {
      return status;
    }
  }
  if (config.greylisting().retry_window_seconds() <= config.greylisting().delay_seconds()) {
    return absl::InvalidArgumentError(
        "greylisting.retry_window_seconds: not above delay_seconds, so that nobody would pass");
  }
  absl::flat_hash_set<std::string> domains;
  for (const config::v1::NextHop& hop : config.delivery().next_hops()) {
    if (!domains.insert(hop.domain()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("delivery.next_hops: domain \"", hop.domain(), "\" stands twice"));
    }
    if (hop.domain() == "*") continue;
    const absl::StatusOr<std::string> destination = DestinationOf(hop.domain());
    if (!destination.ok() || *destination != hop.domain()) {
      return absl::InvalidArgumentError(
          absl::StrCat("delivery.next_hops: domain \"", hop.domain(),
                       "\": expected A-labels in lower case, or \"*\""));
    }
  }
  const config::v1::Delivery& delivery = config.delivery();
  struct Networks {
    const char* key;
    const google::protobuf::RepeatedPtrField<std::string>& texts;
    absl::StatusOr<Network> (*parse)(absl::string_view);
  };
  for (const Networks& networks :
       {Networks{"allowed_private_networks", delivery.allowed_private_networks(), &Network::Parse},
        Networks{"own_addresses", delivery.own_addresses(), &Network::Parse},
        Networks{"nat64_prefixes", delivery.nat64_prefixes(), &Network::ParseNat64}}) {
    for (const std::string& text : networks.texts) {
      if (absl::Status status = networks.parse(text).status(); !status.ok()) {
        return absl::InvalidArgumentError(
            absl::StrCat("delivery.", networks.key, ": ", status.message()));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Migrate(const config::v1::RelaySvc& config) {
  return config.has_postgresql() ? storage::postgresql::MigrateDatabase(config.postgresql(),
                                                                        kService, SpoolMigrations())
                                 : storage::postgresql::NothingToMigrate();
}

absl::StatusOr<std::string> CopyDatabase(const config::v1::RelaySvc& from,
                                         const config::v1::RelaySvc& to,
                                         absl::FunctionRef<void(absl::string_view)> say) {
  return storage::copy::CopyDatabase(CopiedSpool(), storage::copy::PlaceOf(from),
                                     storage::copy::PlaceOf(to), say);
}

absl::StatusOr<std::unique_ptr<process::RunningService>> MakeService(
    const config::v1::RelaySvc& config) {
  const config::v1::MutualTls& tls = config.process().mtls();
  auto service = std::make_unique<RelayService>();

  absl::StatusOr<std::unique_ptr<identity::TokenVerifier>> verifier =
      identity::TokenVerifier::Open(config.token_verification_keys_file());
  if (!verifier.ok()) return verifier.status();
  service->verifier = *std::move(verifier);

  absl::StatusOr<std::shared_ptr<grpc::Channel>> auth =
      rpc::ConnectTo(config.auth_svc(), tls, identity::kAuthSvc);
  if (!auth.ok()) return auth.status();
  service->directory = clients::MakeDirectoryClient(*std::move(auth));
  absl::StatusOr<std::shared_ptr<grpc::Channel>> store =
      rpc::ConnectTo(config.store_svc(), tls, identity::kStoreSvc);
  if (!store.ok()) return store.status();
  service->store = clients::MakeDeliveryClient(*std::move(store), clients::SmallBodies::kCallEach);

  absl::StatusOr<std::unique_ptr<Resolver>> resolver = OpenUnboundResolver(
      {config.delivery().name_servers().begin(), config.delivery().name_servers().end()});
  if (!resolver.ok()) return resolver.status();
  service->resolver = *std::move(resolver);

  if (config.has_postgresql()) {
    absl::StatusOr<std::unique_ptr<storage::postgresql::Database>> database =
        storage::postgresql::Database::Open(config.postgresql(), kService, SpoolMigrations());
    if (!database.ok()) return database.status();
    service->database = *std::move(database);
    service->spool = MakePostgresqlSpool(&service->database->pool(),
                                         {.max_messages = config.max_queue_messages()});
  } else {
    absl::StatusOr<std::unique_ptr<Spool>> spool =
        OpenSqliteSpool(config.database_file(), {.max_messages = config.max_queue_messages()});
    if (!spool.ok()) return spool.status();
    service->spool = *std::move(spool);
  }

  service->local = std::make_unique<LocalDelivery>(service->store.get());
  service->remote =
      std::make_unique<RemoteDelivery>(RemoteOptions(config.delivery()), service->resolver.get());
  service->runner = std::make_unique<QueueRunner>(RunnerOptions(config), service->spool.get(),
                                                  service->directory.get(), service->local.get(),
                                                  service->remote.get());

  absl::StatusOr<std::unique_ptr<limits::Limits>> limits =
      limits::OpenLimits(config.has_redis(), config.redis());
  if (!limits.ok()) return limits.status();
  service->limits = *std::move(limits);
  service->policy = std::make_unique<Policy>(PolicyOptionsOf(config), service->directory.get(),
                                             service->store.get(), service->verifier.get(),
                                             service->limits.get());
  const config::v1::RateLimits& rates = config.rate_limits();
  service->submission.options.recipients =
      RateOf(rates.has_recipients_per_account(), rates.recipients_per_account());
  service->submission.limits = service->limits.get();
  service->submission.options.max_message_octets =
      static_cast<uint64_t>(config.max_message_octets());
  service->submission.spool = service->spool.get();
  service->submission.directory = service->directory.get();
  service->submission.verifier = service->verifier.get();
  service->submission.committed = [runner = service->runner.get()](std::vector<JobKey> due) {
    // A repetition: nobody may know yet of what the first try committed.
    due.empty() ? runner->Wake() : runner->Offer(std::move(due));
  };
  service->forwarding = service->submission;
  service->forwarding.options.from = SubmissionOptions::From::kAnybody;
  // Users have the rest for themselves, whatever strangers send on.
  service->forwarding.options.max_queue_messages = config.max_queue_messages() * 4 / 5;

  service->policy_rpc =
      std::make_unique<PolicyServiceAdapter>(service->policy.get(), &service->pool);
  service->submission_rpc =
      std::make_unique<SubmissionServiceAdapter>(&service->submission, &service->pool);
  service->forwarding_rpc =
      std::make_unique<ForwardingServiceAdapter>(&service->forwarding, &service->pool);
  service->queue_admin_rpc = std::make_unique<QueueAdminServiceAdapter>(
      service->spool.get(), service->runner.get(), process::SystemClock());
  absl::StatusOr<std::unique_ptr<rpc::RpcServer>> server =
      rpc::RpcServer::Start(config.rpc(), tls,
                            {service->policy_rpc.get(), service->submission_rpc.get(),
                             service->forwarding_rpc.get(), service->queue_admin_rpc.get()});
  if (!server.ok()) return server.status();
  service->server = *std::move(server);
  return service;
}

}  // namespace postern::relay
