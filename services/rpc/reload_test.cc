// The TLS of an RPC server as a peer with its own OpenSSL sees it: versions, and certificates that
// are swapped under live connections.
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "gtest/gtest.h"
#include "openssl/ssl.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/identity/access.h"
#include "services/identity/test_pki.h"
#include "services/rpc/channel.h"
#include "services/rpc/probe.h"
#include "services/rpc/server.h"
#include "services/telemetry/metrics.h"

namespace postern::rpc {
namespace {

constexpr char kService[] = "postern.store.v1.MaildropService";

struct Handshake {
  bool done = false;
  int version = 0;
  // Of the server's certificate.
  std::string serial;
};

unsigned int GivePsk(SSL*, const char*, char* identity, unsigned int max_identity,
                     unsigned char* psk, unsigned int max_psk) {
  std::snprintf(identity, max_identity, "x");
  std::memset(psk, 0, max_psk < 16 ? max_psk : 16);
  return 16;
}

// One handshake at `version`, offering every suite that OpenSSL has, PSK among them.
Handshake ShakeHands(int port, const config::v1::MutualTls& tls, int version) {
  Handshake result;
  const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_client_method()),
                                                             SSL_CTX_free);
  SSL_CTX_set_min_proto_version(context.get(), version);
  SSL_CTX_set_max_proto_version(context.get(), version);
  SSL_CTX_set_cipher_list(context.get(), "ALL:@SECLEVEL=0");
  SSL_CTX_set_psk_client_callback(context.get(), version == TLS1_2_VERSION ? GivePsk : nullptr);
  EXPECT_EQ(
      SSL_CTX_use_certificate_file(context.get(), tls.certificate_file().c_str(), SSL_FILETYPE_PEM),
      1);
  EXPECT_EQ(
      SSL_CTX_use_PrivateKey_file(context.get(), tls.private_key_file().c_str(), SSL_FILETYPE_PEM),
      1);
  SSL_CTX_set_alpn_protos(context.get(), reinterpret_cast<const unsigned char*>("\x02h2"), 3);

  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const absl::Cleanup close_fd = [fd] { close(fd); };
  const timeval timeout{.tv_sec = 10};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return result;
  }
  const std::unique_ptr<SSL, void (*)(SSL*)> ssl(SSL_new(context.get()), SSL_free);
  SSL_set_fd(ssl.get(), fd);
  result.done = SSL_connect(ssl.get()) == 1;
  if (result.done) {
    result.version = SSL_version(ssl.get());
    const X509* certificate = SSL_get0_peer_certificate(ssl.get());
    const ASN1_INTEGER* serial = X509_get0_serialNumber(certificate);
    result.serial.assign(reinterpret_cast<const char*>(serial->data),
                         static_cast<size_t>(serial->length));
  }
  return result;
}

class RpcReloadTest : public testing::Test {
 protected:
  // A folder as the kubelet makes it for a Secret: what is mounted are symlinks into ..data, which
  // is a symlink to the current folder, replaced by a rename.
  void SetUp() override {
    server_tls_.set_certificate_file(absl::StrCat(mount_, "/tls.crt"));
    server_tls_.set_private_key_file(absl::StrCat(mount_, "/tls.key"));
    server_tls_.set_ca_file(absl::StrCat(mount_, "/ca.crt"));
    mkdir(mount_.c_str(), 0700);
    for (const char* name : {"tls.crt", "tls.key", "ca.crt"}) {
      unlink(absl::StrCat(mount_, "/", name).c_str());
      ASSERT_EQ(
          symlink(absl::StrCat("..data/", name).c_str(), absl::StrCat(mount_, "/", name).c_str()),
          0);
    }
    Mount(pki_.IssueIdentity(identity::kStoreSvc));
    auto server = RpcServer::Start(config::v1::RpcListener(), server_tls_, {&probe_});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  void Mount(const config::v1::MutualTls& tls) {
    MountFiles(Read(tls.certificate_file()), Read(tls.private_key_file()), Read(tls.ca_file()));
  }

  void MountFiles(const std::string& certificate, const std::string& key, const std::string& ca) {
    static int generation = 0;
    const std::string folder = absl::StrCat("..", getpid(), "_", ++generation);
    ASSERT_EQ(mkdir(absl::StrCat(mount_, "/", folder).c_str(), 0700), 0);
    std::ofstream(absl::StrCat(mount_, "/", folder, "/tls.crt")) << certificate;
    std::ofstream(absl::StrCat(mount_, "/", folder, "/tls.key")) << key;
    std::ofstream(absl::StrCat(mount_, "/", folder, "/ca.crt")) << ca;
    const std::string temporary = absl::StrCat(mount_, "/..data_tmp");
    ASSERT_EQ(symlink(folder.c_str(), temporary.c_str()), 0);
    ASSERT_EQ(rename(temporary.c_str(), absl::StrCat(mount_, "/..data").c_str()), 0);
  }

  static std::string Read(const std::string& file) {
    std::ifstream in(file);
    return std::string(std::istreambuf_iterator<char>(in), {});
  }

  std::shared_ptr<grpc::Channel> Connect(const config::v1::MutualTls& tls) {
    config::v1::RpcTarget target;
    target.set_target(absl::StrCat("127.0.0.1:", server_->port()));
    auto channel = ConnectTo(target, tls, identity::kStoreSvc);
    EXPECT_TRUE(channel.ok()) << channel.status();
    return channel.ok() ? *channel : nullptr;
  }

  // The files are looked at every second: asks until it is so, at most 30 s.
  template <typename Predicate>
  static bool Eventually(const Predicate& predicate) {
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    while (!predicate()) {
      if (absl::Now() > deadline) {
        return false;
      }
      absl::SleepFor(absl::Milliseconds(20));
    }
    return true;
  }

  const std::string mount_ = absl::StrCat(testing::TempDir(), "/mount");
  identity::TestPki pki_{absl::StrCat(testing::TempDir(), "/reload_pki")};
  const config::v1::MutualTls client_tls_ = pki_.IssueIdentity(identity::kGatewayPop3);
  config::v1::MutualTls server_tls_;
  // Answers with the peer's port: the same one means the same connection.
  ProbeService probe_{{kService},
                      [](grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
                        *response = ToBuffer(context->peer());
                        auto* reactor = context->DefaultReactor();
                        reactor->Finish(grpc::Status::OK);
                        return reactor;
                      }};
  std::unique_ptr<RpcServer> server_;
};

TEST_F(RpcReloadTest, OnlyTls13IsSpoken) {
  const Handshake modern = ShakeHands(server_->port(), client_tls_, TLS1_3_VERSION);
  EXPECT_TRUE(modern.done);
  EXPECT_EQ(modern.version, TLS1_3_VERSION);
  for (int version : {TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION}) {
    EXPECT_FALSE(ShakeHands(server_->port(), client_tls_, version).done) << version;
  }
}

TEST_F(RpcReloadTest, ASwappedCertificateIsServedAndNoConnectionDropped) {
  const auto live = Connect(client_tls_);
  std::string before;
  ASSERT_TRUE(Probe(live, ProbePath(kService), &before).ok());
  const std::string old_serial = ShakeHands(server_->port(), client_tls_, TLS1_3_VERSION).serial;
  ASSERT_FALSE(old_serial.empty());

  Mount(pki_.IssueIdentity(identity::kStoreSvc));
  EXPECT_TRUE(Eventually([&] {
    const Handshake now = ShakeHands(server_->port(), client_tls_, TLS1_3_VERSION);
    EXPECT_TRUE(now.done) << "a handshake failed during the swap";
    return now.serial != old_serial;
  }));
  std::string after;
  EXPECT_TRUE(Probe(live, ProbePath(kService), &after).ok());
  EXPECT_EQ(before, after);
}

TEST_F(RpcReloadTest, ASwappedCaLetsTheNewInAndTheOldOut) {
  const auto live = Connect(client_tls_);
  std::string before;
  ASSERT_TRUE(Probe(live, ProbePath(kService), &before).ok());

  const identity::TestPki other(absl::StrCat(testing::TempDir(), "/next_pki"));
  config::v1::MutualTls next_server = other.IssueIdentity(identity::kStoreSvc);
  const config::v1::MutualTls next_client = other.IssueIdentity(identity::kGatewayPop3);
  Mount(next_server);
  EXPECT_TRUE(Eventually([&] { return Probe(Connect(next_client), ProbePath(kService)).ok(); }));
  config::v1::MutualTls old_client = client_tls_;
  old_client.set_ca_file(other.ca_file());
  EXPECT_TRUE(absl::IsUnavailable(Probe(Connect(old_client), ProbePath(kService))));
  std::string after;
  EXPECT_TRUE(Probe(live, ProbePath(kService), &after).ok());
  EXPECT_EQ(before, after);
}

TEST_F(RpcReloadTest, BrokenFilesLeaveTheOldOnesInForce) {
  const auto live = Connect(client_tls_);
  std::string before;
  ASSERT_TRUE(Probe(live, ProbePath(kService), &before).ok());
  const std::string serial = ShakeHands(server_->port(), client_tls_, TLS1_3_VERSION).serial;
  const std::string other_key = Read(pki_.IssueIdentity(identity::kStoreSvc).private_key_file());
  const config::v1::MutualTls next = pki_.IssueIdentity(identity::kStoreSvc);
  const std::string certificate = Read(next.certificate_file());
  const std::string key = Read(next.private_key_file());
  const std::string ca = Read(next.ca_file());
  const struct {
    std::string certificate;
    std::string key;
    std::string ca;
  } broken[] = {
      {"", "", ""},
      {"garbage", "garbage", "garbage"},
      {certificate, other_key, ca},
      {certificate.substr(0, certificate.size() / 2), key, ca},
      {certificate + certificate.substr(0, certificate.size() / 2), key, ca},
      {certificate, key.substr(0, key.size() / 2), ca},
      {certificate, key, "garbage"},
      {certificate, key, ca + ca.substr(0, ca.size() / 2)},
  };
  const auto failures = [] {
    const std::string metrics = telemetry::RenderMetrics();
    const std::string name = "\npostern_certificate_reload_failures_total ";
    const size_t at = metrics.find(name);
    return at == std::string::npos ? 0 : std::stoi(metrics.substr(at + name.size()));
  };
  for (const auto& files : broken) {
    const int failed = failures();
    MountFiles(files.certificate, files.key, files.ca);
    EXPECT_TRUE(Eventually([&] { return failures() > failed; }));
    EXPECT_EQ(ShakeHands(server_->port(), client_tls_, TLS1_3_VERSION).serial, serial);
  }
  Mount(next);
  EXPECT_TRUE(Eventually([&] {
    const Handshake now = ShakeHands(server_->port(), client_tls_, TLS1_3_VERSION);
    EXPECT_TRUE(now.done);
    return now.serial != serial;
  }));
  std::string after;
  EXPECT_TRUE(Probe(live, ProbePath(kService), &after).ok());
  EXPECT_EQ(before, after);
}

}  // namespace
}  // namespace postern::rpc
