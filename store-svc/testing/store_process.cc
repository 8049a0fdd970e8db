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
#include <iterator>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/support/channel_arguments.h"
#include "gtest/gtest.h"
#include "services/identity/access.h"
#include "services/rpc/channel.h"

extern char** environ;

namespace postern::store {
namespace {

constexpr char kBinary[] = "store-svc/store-svc";
constexpr absl::Duration kStartTime = absl::Seconds(30);

std::string MakeFolder() {
  std::string folder = absl::StrCat(testing::TempDir(), "/store.XXXXXX");
  if (mkdtemp(folder.data()) == nullptr) std::abort();
  return folder;
}

std::string Contents(const std::string& file) {
  std::ifstream in(file);
  return std::string(std::istreambuf_iterator<char>(in), {});
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

StoreProcess::StoreProcess(absl::string_view settings)
    : folder_(MakeFolder()), pki_(folder_ + "/pki") {
  WriteTokenKeys(folder_ + "/token.key", folder_ + "/token.pub");
  signer_ = *identity::TokenSigner::Open(folder_ + "/token.key");
  const config::v1::MutualTls tls = Identity(identity::kStoreSvc);
  std::ofstream(config_file()) << "process:\n"
                               << "  ports_file: " << folder_ << "/ports.json\n"
                               << "  mtls:\n"
                               << "    certificate_file: " << tls.certificate_file() << "\n"
                               << "    private_key_file: " << tls.private_key_file() << "\n"
                               << "    ca_file: " << tls.ca_file() << "\n"
                               << "database_file: " << database_file() << "\n"
                               << "token_verification_keys_file: " << folder_ << "/token.pub\n"
                               << settings << "\n";
}

StoreProcess::~StoreProcess() {
  if (pid_ > 0) Kill();
}

config::v1::MutualTls StoreProcess::Identity(absl::string_view identity) {
  auto [found, fresh] = identities_.try_emplace(std::string(identity));
  if (fresh) found->second = pki_.IssueIdentity(identity);
  return found->second;
}

void StoreProcess::Start() {
  const std::string ports_file = folder_ + "/ports.json";
  std::remove(ports_file.c_str());
  port_ = 0;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 2, (folder_ + "/log").c_str(),
                                   O_CREAT | O_APPEND | O_WRONLY, 0600);
  std::string binary = kBinary;
  std::string flag = "--config";
  std::string config = config_file();
  char* argv[] = {binary.data(), flag.data(), config.data(), nullptr};
  const int spawned = posix_spawn(&pid_, kBinary, &actions, nullptr, argv, environ);
  if (spawned != 0) pid_ = -1;
  ASSERT_EQ(spawned, 0) << kBinary;
  posix_spawn_file_actions_destroy(&actions);
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
