#include "auth-svc/service.h"

#include <sodium.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "auth-svc/certificates/certificate_login.h"
#include "auth-svc/copy/copied_directory.h"
#include "auth-svc/domain/authenticator.h"
#include "auth-svc/domain/canonical.h"
#include "auth-svc/domain/directory.h"
#include "auth-svc/domain/freshness.h"
#include "auth-svc/domain/login_memory.h"
#include "auth-svc/domain/login_throttle.h"
#include "auth-svc/domain/mirror.h"
#include "auth-svc/domain/password.h"
#include "auth-svc/domain/resolver.h"
#include "auth-svc/domain/scram_login.h"
#include "auth-svc/domain/upkeep.h"
#include "auth-svc/domain/vouched_login.h"
#include "auth-svc/ldap/ldap_directory.h"
#include "auth-svc/ldap/watch.h"
#include "auth-svc/oauth/bearer_login.h"
#include "auth-svc/oauth/token_verifier.h"
#include "auth-svc/postgresql/postgresql_directory.h"
#include "auth-svc/rpc/authentication_service.h"
#include "auth-svc/rpc/directory_admin_service.h"
#include "auth-svc/rpc/directory_service.h"
#include "auth-svc/sqlite/sqlite_directory.h"
#include "proto/postern/config/v1/auth_svc.pb.h"
#include "services/identity/token.h"
#include "services/limits/limits.h"
#include "services/limits/redis_limits.h"
#include "services/process/clock.h"
#include "services/process/worker_pool.h"
#include "services/rpc/server.h"
#include "services/storage/copy/copy_database.h"
#include "services/storage/postgresql/database.h"
#include "services/storage/redis/client.h"

namespace postern::auth {
namespace {

constexpr char kService[] = "auth-svc";
// Reads of a SQLite file that run at the same time; each takes microseconds.
constexpr size_t kReaders = 4;
// Reads that wait for a thread; one more is UNAVAILABLE.
constexpr size_t kMaxWaitingReads = 2000;
// About 250 octets each.
constexpr size_t kMaxRememberedLogins = 100000;
// Operators' calls that wait for the one thread that serves them.
constexpr size_t kMaxWaitingAdminCalls = 100;
// That verify tokens: 100 us each, but for those that wait for an identity provider's keys.
constexpr size_t kTokenThreads = 4;
constexpr size_t kMaxSeparatorOctets = 4;
constexpr int32_t kMinScramIterations = 4096;

AliasLimits Limits(const config::v1::AuthSvc& config) {
  AliasLimits limits;
  limits.max_depth = config.max_alias_depth();
  limits.max_mailboxes = config.max_alias_mailboxes();
  return limits;
}

Argon2Hasher::Cost Cost(const config::v1::PasswordHashing& config) {
  Argon2Hasher::Cost cost;
  cost.memory_octets = static_cast<size_t>(config.memory_octets());
  cost.passes = config.passes();
  return cost;
}

LoginThrottle::Options Throttling(const config::v1::LoginLimits& config) {
  const absl::Duration period = absl::Seconds(config.period_seconds());
  return {.network = {config.failures_per_network(), period},
          .account = {config.failures_per_account(), period},
          .remember_network = absl::Seconds(config.remember_network_seconds())};
}

struct OpenedDirectory {
  // What the directory is in; null when that is a file.
  std::unique_ptr<storage::postgresql::Database> database;
  std::unique_ptr<Directory> directory;
  // That may run at the same time.
  size_t reads = 0;
};

absl::StatusOr<OpenedDirectory> OpenDirectory(const config::v1::AuthSvc& config) {
  OpenedDirectory opened;
  if (config.has_postgresql()) {
    absl::StatusOr<std::unique_ptr<storage::postgresql::Database>> database =
        storage::postgresql::Database::Open(config.postgresql(), kService, DirectoryMigrations());
    if (!database.ok()) return database.status();
    opened.database = *std::move(database);
    opened.directory = std::make_unique<PostgresqlDirectory>(&opened.database->pool());
    opened.reads = static_cast<size_t>(config.postgresql().max_connections());
    return opened;
  }
  absl::StatusOr<std::unique_ptr<SqliteDirectory>> file =
      SqliteDirectory::Open(config.database_file(), kReaders);
  if (!file.ok()) return file.status();
  opened.directory = *std::move(file);
  opened.reads = kReaders;
  return opened;
}

// One of config.ldap.
struct OpenedLdap {
  std::unique_ptr<ldap::LdapDirectory> directory;
  std::unique_ptr<Freshness> freshness;
};

absl::StatusOr<std::vector<OpenedLdap>> OpenLdap(const config::v1::AuthSvc& config) {
  std::vector<OpenedLdap> opened;
  for (const config::v1::Ldap& one : config.ldap()) {
    absl::StatusOr<std::unique_ptr<ldap::LdapDirectory>> directory = ldap::LdapDirectory::Open(one);
    if (!directory.ok()) return directory.status();
    opened.push_back(
        {*std::move(directory),
         std::make_unique<Freshness>(process::SystemClock(), absl::Seconds(one.cache_seconds()),
                                     static_cast<size_t>(one.max_cached()))});
  }
  return opened;
}

std::vector<std::string> Names(const config::v1::AuthSvc& config) {
  std::vector<std::string> names;
  for (const config::v1::Ldap& one : config.ldap()) names.push_back(one.name());
  return names;
}

std::vector<Mirror::Source> Sources(const config::v1::AuthSvc& config,
                                    const std::vector<OpenedLdap>& opened) {
  std::vector<Mirror::Source> sources;
  for (size_t i = 0; i < opened.size(); ++i) {
    const config::v1::Ldap& one = config.ldap(static_cast<int>(i));
    Mirror::Source& source = sources.emplace_back();
    source.directory = opened[i].directory.get();
    source.freshness = opened[i].freshness.get();
    source.threads = static_cast<size_t>(one.max_connections());
    // CheckConfig read them.
    for (const std::string& domain : one.domains()) {
      source.domains.push_back(*CanonicalDomain(domain));
    }
  }
  return sources;
}

absl::StatusOr<std::vector<std::unique_ptr<oauth::TokenVerifier>>> OpenProviders(
    const config::v1::AuthSvc& config) {
  std::vector<std::unique_ptr<oauth::TokenVerifier>> opened;
  for (const config::v1::OAuth& one : config.oauth()) {
    absl::StatusOr<std::unique_ptr<oauth::TokenVerifier>> verifier =
        oauth::TokenVerifier::Open(one, process::SystemClock());
    if (!verifier.ok()) return verifier.status();
    opened.push_back(*std::move(verifier));
  }
  return opened;
}

ConfiguredMechanisms MechanismsOf(const config::v1::AuthSvc& config) {
  ConfiguredMechanisms mechanisms;
  mechanisms.certificates = config.has_client_certificates();
  for (const config::v1::Ldap& one : config.ldap()) {
    for (const std::string& domain : one.domains()) {
      mechanisms.external_domains.push_back(*CanonicalDomain(domain));
    }
  }
  mechanisms.scram = config.password_hashing().scram_iterations() > 0;
  for (const config::v1::OAuth& one : config.oauth()) {
    // CheckConfig read them.
    for (const std::string& domain : one.domains()) {
      mechanisms.bearer_domains.push_back(*CanonicalDomain(domain));
    }
  }
  return mechanisms;
}

// The domain's parts; each may hold references to those before it.
class AuthService final : public process::RunningService {
 public:
  static absl::StatusOr<std::unique_ptr<AuthService>> Start(const config::v1::AuthSvc& config) {
    absl::StatusOr<std::unique_ptr<limits::Limits>> limits =
        limits::OpenLimits(config.has_redis(), config.redis());
    if (!limits.ok()) return limits.status();
    absl::StatusOr<OpenedDirectory> directory = OpenDirectory(config);
    if (!directory.ok()) return directory.status();
    absl::StatusOr<std::unique_ptr<identity::TokenSigner>> signer =
        identity::TokenSigner::Open(config.token_signing_key_file());
    if (!signer.ok()) return signer.status();
    absl::StatusOr<std::vector<OpenedLdap>> ldap = OpenLdap(config);
    if (!ldap.ok()) return ldap.status();
    absl::StatusOr<std::vector<std::unique_ptr<oauth::TokenVerifier>>> providers =
        OpenProviders(config);
    if (!providers.ok()) return providers.status();
    std::unique_ptr<certificates::CertificateVerifier> certificates;
    if (config.has_client_certificates()) {
      auto verifier =
          certificates::CertificateVerifier::Open(config.client_certificates().ca_file());
      if (!verifier.ok()) return verifier.status();
      certificates = *std::move(verifier);
    }
    std::unique_ptr<AuthService> service(
        new AuthService(config, *std::move(directory), *std::move(ldap), *std::move(providers),
                        std::move(certificates), *std::move(signer), *std::move(limits)));
    absl::Status started = service->Listen(config);
    if (!started.ok()) return started;
    return service;
  }

  absl::Status Ready() override {
    if (database_ != nullptr) return database_->Ready();
    return directory_->Read(
        [](DirectoryReader& reader) { return reader.FindOldestDomain().status(); });
  }

  std::map<std::string, int> Ports() const override { return {{"rpc", server_->port()}}; }

  void Drain(absl::Duration grace) override { server_->Drain(grace); }

 private:
  AuthService(const config::v1::AuthSvc& config, OpenedDirectory opened,
              std::vector<OpenedLdap> ldap,
              std::vector<std::unique_ptr<oauth::TokenVerifier>> providers,
              std::unique_ptr<certificates::CertificateVerifier> certificates,
              std::unique_ptr<identity::TokenSigner> signer, std::unique_ptr<limits::Limits> limits)
      : database_(std::move(opened.database)),
        directory_(std::move(opened.directory)),
        ldap_(std::move(ldap)),
        signer_(std::move(signer)),
        limits_(std::move(limits)),
        throttle_(Throttling(config.login_limits()), limits_.get()),
        resolver_(config.subaddress_separator(), Limits(config)),
        hasher_(Cost(config.password_hashing())),
        keeper_(hasher_, static_cast<uint32_t>(config.password_hashing().scram_iterations())),
        login_memory_(process::SystemClock(), absl::Seconds(config.remember_login_seconds()),
                      kMaxRememberedLogins),
        hashing_pool_(config.password_hashing().threads(), config.password_hashing().max_waiting()),
        reading_pool_(opened.reads, kMaxWaitingReads),
        admin_pool_(/*threads=*/1, kMaxWaitingAdminCalls),
        token_pool_(kTokenThreads, kMaxWaitingReads),
        mirror_(*directory_, Sources(config, ldap_), resolver_, config.mailbox_shards(),
                static_cast<size_t>(config.max_alias_mailboxes())),
        directory_service_(*directory_, mirror_, resolver_, reading_pool_, process::SystemClock()),
        admin_service_(*directory_, mirror_,
                       Upkeep(resolver_, Limits(config), config.mailbox_shards(), Names(config)),
                       keeper_, admin_pool_, hashing_pool_, process::SystemClock()),
        scram_login_(*directory_, mirror_, keeper_, throttle_, reading_pool_,
                     signer_->Secret("scram stand-in")),
        token_logins_(*directory_, mirror_, throttle_, token_pool_),
        certificate_logins_(*directory_, mirror_, throttle_, reading_pool_),
        bearer_login_(std::move(providers), token_logins_),
        certificate_login_(std::move(certificates), certificate_logins_) {}

  absl::Status Listen(const config::v1::AuthSvc& config) {
    absl::StatusOr<std::unique_ptr<Authenticator>> authenticator = Authenticator::Create(
        *directory_, mirror_, keeper_, login_memory_, throttle_, reading_pool_, hashing_pool_,
        process::SystemClock(), config.password_hashing().rehash_on_login());
    if (!authenticator.ok()) return authenticator.status();
    authenticator_ = *std::move(authenticator);
    authentication_service_ = std::make_unique<AuthenticationService>(AuthenticationService::Parts{
        .directory = *directory_,
        .passwords = *authenticator_,
        .scram = scram_login_,
        .tokens = bearer_login_,
        .certificates = certificate_login_,
        .signer = *signer_,
        .reading = reading_pool_,
        .mechanisms = MechanismsOf(config),
        .clock = process::SystemClock(),
        .token_lifetime = absl::Seconds(config.token_lifetime_seconds()),
    });
    absl::StatusOr<std::unique_ptr<rpc::RpcServer>> server = rpc::RpcServer::Start(
        config.rpc(), config.process().mtls(),
        {authentication_service_.get(), &directory_service_, &admin_service_});
    if (!server.ok()) return server.status();
    server_ = *std::move(server);
    for (size_t i = 0; i < ldap_.size(); ++i) {
      const config::v1::Ldap& one = config.ldap(static_cast<int>(i));
      if (!one.watch_changes()) continue;
      watches_.push_back(std::make_unique<ldap::Watch>(*ldap_[i].directory, *ldap_[i].freshness,
                                                       absl::Seconds(one.retry_seconds())));
    }
    return absl::OkStatus();
  }

  const std::unique_ptr<storage::postgresql::Database> database_;
  const std::unique_ptr<Directory> directory_;
  const std::vector<OpenedLdap> ldap_;
  const std::unique_ptr<identity::TokenSigner> signer_;
  const std::unique_ptr<limits::Limits> limits_;
  LoginThrottle throttle_;
  const Resolver resolver_;
  Argon2Hasher hasher_;
  const PasswordKeeper keeper_;
  LoginMemory login_memory_;
  // Its jobs go on to the other's, so it ends first.
  process::WorkerPool hashing_pool_;
  process::WorkerPool reading_pool_;
  process::WorkerPool admin_pool_;
  process::WorkerPool token_pool_;
  Mirror mirror_;
  std::vector<std::unique_ptr<ldap::Watch>> watches_;
  DirectoryService directory_service_;
  DirectoryAdminService admin_service_;
  ScramLogin scram_login_;
  VouchedLogin token_logins_;
  VouchedLogin certificate_logins_;
  oauth::BearerLogin bearer_login_;
  certificates::CertificateLogin certificate_login_;
  std::unique_ptr<Authenticator> authenticator_;
  std::unique_ptr<AuthenticationService> authentication_service_;
  // First to go: its calls use everything else, and its end waits for them.
  std::unique_ptr<rpc::RpcServer> server_;
};

// Each source by its name, each domain's people in one.
absl::Status CheckLdap(const config::v1::AuthSvc& config) {
  absl::flat_hash_set<std::string> names;
  absl::flat_hash_set<std::string> domains;
  for (int i = 0; i < config.ldap_size(); ++i) {
    const config::v1::Ldap& one = config.ldap(i);
    const std::string key = absl::StrCat("ldap[", i, "]");
    if (absl::Status status = ldap::CheckConfig(one, key); !status.ok()) return status;
    if (!names.insert(one.name()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(key, ".name: \"", one.name(), "\" stands twice"));
    }
    for (const std::string& domain : one.domains()) {
      if (!domains.insert(*CanonicalDomain(domain)).second) {
        return absl::InvalidArgumentError(
            absl::StrCat(key, ".domains: ", domain, " stands twice, or in two directories"));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckOAuth(const config::v1::AuthSvc& config) {
  absl::flat_hash_set<std::string> names;
  for (int i = 0; i < config.oauth_size(); ++i) {
    const std::string key = absl::StrCat("oauth[", i, "]");
    if (absl::Status status = oauth::CheckConfig(config.oauth(i), key); !status.ok()) {
      return status;
    }
    if (!names.insert(config.oauth(i).name()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(key, ".name: \"", config.oauth(i).name(), "\" stands twice"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckConfig(const config::v1::AuthSvc& config) {
  if (absl::Status status = storage::postgresql::CheckOneDatabase(config.has_postgresql(),
                                                                  config.has_database_file());
      !status.ok()) {
    return status;
  }
  if (config.has_redis()) {
    if (absl::Status status = storage::redis::CheckConfig(config.redis()); !status.ok()) {
      return status;
    }
  }
  if (absl::Status status = CheckLdap(config); !status.ok()) return status;
  if (absl::Status status = CheckOAuth(config); !status.ok()) return status;
  const int32_t iterations = config.password_hashing().scram_iterations();
  if (iterations > 0 && iterations < kMinScramIterations) {
    return absl::InvalidArgumentError(
        absl::StrCat("password_hashing.scram_iterations: expected 0 (no SCRAM) or ",
                     kMinScramIterations, " at least (RFC 7677 4), not ", iterations));
  }
  const std::string& separator = config.subaddress_separator();
  // RFC 5321 atext, but no letter or digit: those are names.
  constexpr absl::string_view kAllowed = "!#$%&'*+-/=?^_`{|}~.";
  if (separator.size() > kMaxSeparatorOctets ||
      std::any_of(separator.begin(), separator.end(),
                  [&](char c) { return kAllowed.find(c) == absl::string_view::npos; })) {
    return absl::InvalidArgumentError(absl::StrCat("subaddress_separator: expected up to ",
                                                   kMaxSeparatorOctets, " of the characters ",
                                                   kAllowed, " (or \"\" for no sub-addressing)"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Migrate(const config::v1::AuthSvc& config) {
  return config.has_postgresql() ? storage::postgresql::MigrateDatabase(
                                       config.postgresql(), kService, DirectoryMigrations())
                                 : storage::postgresql::NothingToMigrate();
}

absl::StatusOr<std::string> CopyDatabase(const config::v1::AuthSvc& from,
                                         const config::v1::AuthSvc& to,
                                         absl::FunctionRef<void(absl::string_view)> say) {
  return storage::copy::CopyDatabase(CopiedDirectory(), storage::copy::PlaceOf(from),
                                     storage::copy::PlaceOf(to), say);
}

absl::StatusOr<std::unique_ptr<process::RunningService>> MakeService(
    const config::v1::AuthSvc& config) {
  if (sodium_init() < 0) return absl::InternalError("libsodium cannot be initialised");
  absl::StatusOr<std::unique_ptr<AuthService>> service = AuthService::Start(config);
  if (!service.ok()) return service.status();
  return *std::move(service);
}

}  // namespace postern::auth
