#include "auth-svc/test_service.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "auth-svc/service.h"
#include "gtest/gtest.h"
#include "services/identity/access.h"
#include "services/rpc/channel.h"

namespace postern::auth {
namespace {

std::string NewFolder() {
  std::string folder = testing::TempDir() + "/auth-svc.XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) abort();
  return folder;
}

}  // namespace

TestService::TestService(const config::v1::PostgreSql* postgresql)
    : folder_(NewFolder()), pki_(folder_ + "/pki") {
  WriteTokenKey();
  *config_.mutable_process()->mutable_mtls() = pki_.IssueIdentity(identity::kAuthSvc);
  config_.mutable_rpc()->set_port(0);
  if (postgresql != nullptr) {
    *config_.mutable_postgresql() = *postgresql;
  } else {
    config_.set_database_file(folder_ + "/directory.db");
  }
  config_.set_token_signing_key_file(folder_ + "/token.key");
  config_.mutable_password_hashing()->set_memory_octets(8 << 20);
  config_.mutable_password_hashing()->set_passes(1);
  absl::StatusOr<std::unique_ptr<process::RunningService>> service = MakeService(config_);
  if (!service.ok()) {
    fprintf(stderr, "%s\n", service.status().ToString().c_str());
    abort();
  }
  service_ = *std::move(service);
}

TestService::~TestService() { service_->Drain(absl::Seconds(5)); }

void TestService::WriteTokenKey() const {
  EVP_PKEY* key = EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
  FILE* private_file = fopen((folder_ + "/token.key").c_str(), "w");
  FILE* public_file = fopen(public_key_file().c_str(), "w");
  if (key == nullptr || private_file == nullptr || public_file == nullptr ||
      PEM_write_PrivateKey(private_file, key, nullptr, nullptr, 0, nullptr, nullptr) != 1 ||
      PEM_write_PUBKEY(public_file, key) != 1) {
    abort();
  }
  fclose(private_file);
  fclose(public_file);
  EVP_PKEY_free(key);
}

int TestService::port() const { return service_->Ports().at("rpc"); }

std::shared_ptr<grpc::Channel> TestService::Connect(absl::string_view identity) {
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<grpc::Channel>& channel = channels_[std::string(identity)];
  if (channel == nullptr) {
    config::v1::RpcTarget target;
    target.set_target(absl::StrCat("127.0.0.1:", port()));
    auto connected = rpc::ConnectTo(target, pki_.IssueIdentity(identity), identity::kAuthSvc);
    if (!connected.ok()) abort();
    channel = *std::move(connected);
  }
  return channel;
}

}  // namespace postern::auth
