#include "store-svc/testing/store_process.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "grpcpp/support/channel_arguments.h"
#include "gtest/gtest.h"
#include "services/identity/access.h"
#include "services/identity/test_pki.h"
#include "services/identity/token.h"
#include "services/rpc/channel.h"
#include "services/storage/postgresql/connection.h"
#include "services/storage/postgresql/testing/test_server.h"
#include "services/storage/sqlite/sqlite.h"
#include "services/storage/testing/server_process.h"

extern char** environ;

namespace postern::store {
namespace {

using storage::Contents;
using storage::postgresql::Connection;
using storage::postgresql::Server;
using storage::postgresql::TestServer;

constexpr char kBinary[] = "store-svc/store-svc";
constexpr absl::Duration kStartTime = absl::Seconds(30);

std::string MakeFolder() {
  std::string folder = absl::StrCat(testing::TempDir(), "/store.XXXXXX");
  if (mkdtemp(folder.data()) == nullptr) std::abort();
  return folder;
}

// Of a ports file, which is there as a whole or not at all; 0: not yet.
int RpcPort(const std::string& ports) {
  const std::string kName = "\"rpc\":";
  const size_t at = ports.find(kName);
  return at == std::string::npos ? 0 : std::atoi(ports.c_str() + at + kName.size());
}

void WriteTokenKeys(const std::string& private_file, const std::string& public_file) {
  EVP_PKEY* key = EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
  FILE* out = fopen(private_file.c_str(), "w");
  PEM_write_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr);
  fclose(out);
  out = fopen(public_file.c_str(), "w");
  PEM_write_PUBKEY(out, key);
  fclose(out);
  EVP_PKEY_free(key);
}

}  // namespace

bool OnPostgresql() {
  const char* const database = std::getenv("POSTERN_TEST_DATABASE");
  return database != nullptr && absl::string_view(database) == "postgresql";
}

struct StoreProcess::Deployment {
  Deployment() {
    WriteTokenKeys(folder + "/token.key", folder + "/token.pub");
    signer = *identity::TokenSigner::Open(folder + "/token.key");
    if (OnPostgresql()) postgresql = TestServer::Shared().NewDatabase();
  }

  std::string Settings() const {
    if (!OnPostgresql()) return absl::StrCat("database_file: ", database_file(), "\n");
    return absl::StrCat("postgresql:\n  hosts: [\"", absl::StrJoin(postgresql.hosts, "\", \""),
                        "\"]\n  database: ", postgresql.database, "\n  user: ", postgresql.user,
                        "\n  password_file: ", postgresql.password_file,
                        "\n  allow_unsafe_durability: true\n");
  }
  std::string database_file() const { return folder + "/mail.db"; }

  const std::string folder = MakeFolder();
  const identity::TestPki pki{folder + "/pki"};
  std::map<std::string, config::v1::MutualTls> identities;
  std::unique_ptr<identity::TokenSigner> signer;
  Server postgresql;
  bool migrated = false;
};

StoreProcess::StoreProcess(absl::string_view settings)
    : StoreProcess(std::make_shared<Deployment>(), settings) {}

StoreProcess::StoreProcess(const StoreProcess& like, absl::string_view settings)
    : StoreProcess(like.deployment_, settings) {}

StoreProcess::StoreProcess(std::shared_ptr<Deployment> deployment, absl::string_view settings)
    : deployment_(std::move(deployment)), folder_(MakeFolder()) {
  const config::v1::MutualTls& tls = Identity(identity::kStoreSvc);
  std::ofstream(config_file()) << "process:\n"
                               << "  ports_file: " << folder_ << "/ports.json\n"
                               << "  mtls:\n"
                               << "    certificate_file: " << tls.certificate_file() << "\n"
                               << "    private_key_file: " << tls.private_key_file() << "\n"
                               << "    ca_file: " << tls.ca_file() << "\n"
                               << deployment_->Settings()
                               << "token_verification_keys_file: " << deployment_->folder
                               << "/token.pub\n"
                               << settings << "\n";
}

StoreProcess::~StoreProcess() {
  if (pid_ > 0) Kill();
}

std::string StoreProcess::Sign(const token::v1::Claims& claims) const {
  return deployment_->signer->Sign(claims);
}

const config::v1::MutualTls& StoreProcess::Identity(absl::string_view identity) {
  auto [found, fresh] = deployment_->identities.try_emplace(std::string(identity));
  if (fresh) found->second = deployment_->pki.IssueIdentity(identity);
  return found->second;
}

void StoreProcess::Execute(absl::string_view sql) const {
  const absl::Status status = OnPostgresql()
                                  ? (*Connection::Open(deployment_->postgresql))->Execute(sql)
                                  : (*storage::Sqlite::Open(deployment_->database_file(),
                                                            storage::Sqlite::Mode::kReadWrite))
                                        ->Execute(sql);
  ASSERT_TRUE(status.ok()) << status;
}

int64_t StoreProcess::Number(absl::string_view sql) const {
  if (OnPostgresql()) {
    const auto connection = *Connection::Open(deployment_->postgresql);
    auto rows = connection->Run(sql, {});
    EXPECT_TRUE(rows.ok()) << rows.status();
    return rows.ok() ? (*rows)->Int(0, 0) : -1;
  }
  const auto database =
      *storage::Sqlite::Open(deployment_->database_file(), storage::Sqlite::Mode::kReadOnly);
  storage::Use use(*database->Prepare(sql));
  EXPECT_TRUE(*use->Step());
  return use->Int(0);
}

void StoreProcess::Spawn(std::vector<std::string> arguments) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 2, (folder_ + "/log").c_str(),
                                   O_CREAT | O_APPEND | O_WRONLY, 0600);
  std::string binary = kBinary;
  std::vector<char*> argv = {binary.data()};
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const int spawned = posix_spawn(&pid_, kBinary, &actions, nullptr, argv.data(), environ);
  if (spawned != 0) pid_ = -1;
  posix_spawn_file_actions_destroy(&actions);
  ASSERT_EQ(spawned, 0) << kBinary;
}

void StoreProcess::Start() {
  if (OnPostgresql() && !std::exchange(deployment_->migrated, true)) {
    Spawn({"migrate", "--config", config_file()});
    ASSERT_EQ(Wait(), 0) << log();
  }
  const std::string ports_file = folder_ + "/ports.json";
  std::remove(ports_file.c_str());
  port_ = 0;
  Spawn({"--config", config_file()});
  const absl::Time deadline = absl::Now() + kStartTime;
  while (port_ == 0) {
    ASSERT_LT(absl::Now(), deadline) << log();
    std::this_thread::yield();
    port_ = RpcPort(Contents(ports_file));
  }
}

void StoreProcess::Signal(int signal) const {
  // kill(-1) would be every process of the machine.
  ASSERT_GT(pid_, 0);
  kill(pid_, signal);
}

void StoreProcess::Kill() {
  Signal(SIGKILL);
  Wait();
}

void StoreProcess::Terminate() { Signal(SIGTERM); }
void StoreProcess::Stop() { storage::Suspend(pid_); }
void StoreProcess::Continue() { Signal(SIGCONT); }

int StoreProcess::Wait() {
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string StoreProcess::log() const { return Contents(folder_ + "/log"); }

std::shared_ptr<grpc::Channel> StoreProcess::Connect(absl::string_view identity, int port) {
  config::v1::RpcTarget target;
  target.set_target(absl::StrCat("127.0.0.1:", port != 0 ? port : port_));
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel =
      rpc::ConnectTo(target, Identity(identity), identity::kStoreSvc);
  EXPECT_TRUE(channel.ok()) << channel.status();
  return *channel;
}

token::v1::Claims StoreProcess::MakeClaims(absl::string_view mailbox_id,
                                           absl::string_view session_nonce) const {
  token::v1::Claims claims;
  claims.set_account_id("account");
  claims.set_address("alice@example.test");
  claims.set_mailbox_id(std::string(mailbox_id));
  claims.set_purpose(auth::v1::PURPOSE_MAILDROP);
  claims.set_gateway(std::string(identity::kGatewayPop3));
  claims.set_session_nonce(std::string(session_nonce));
  claims.set_issued_at(absl::ToUnixSeconds(absl::Now()) - 1);
  claims.set_expires_at(absl::ToUnixSeconds(absl::Now()) + 3600);
  return claims;
}

}  // namespace postern::store
