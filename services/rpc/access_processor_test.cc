// DESIGN, "Who may call what", on a real server with real certificates: every identity and every
// kind of stranger, against every gRPC service.
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"
#include "gtest/gtest.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/config/small_file.h"
#include "services/identity/access.h"
#include "services/identity/test_pki.h"
#include "services/rpc/channel.h"
#include "services/rpc/probe.h"
#include "services/rpc/server.h"
#include "services/telemetry/metrics.h"

namespace postern::rpc {
namespace {

constexpr absl::string_view kServer = identity::kStoreSvc;

std::vector<std::string> AllServices() {
  std::vector<std::string> all;
  for (const identity::AccessRule& rule : identity::AccessRules()) {
    all.emplace_back(rule.grpc_service);
  }
  // Not in the table, and yet served here: still nobody's.
  all.emplace_back("grpc.health.v1.Health");
  return all;
}

class RpcAccessTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server =
        RpcServer::Start(config::v1::RpcListener(), pki_.IssueIdentity(kServer), {&probe_});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  config::v1::RpcTarget Target() const {
    config::v1::RpcTarget target;
    target.set_target(absl::StrCat("127.0.0.1:", server_->port()));
    return target;
  }

  std::shared_ptr<grpc::Channel> Connect(const config::v1::MutualTls& tls,
                                         absl::string_view server = kServer) const {
    auto channel = ConnectTo(Target(), tls, server);
    EXPECT_TRUE(channel.ok()) << channel.status();
    return channel.ok() ? *channel : nullptr;
  }

  identity::TestPki pki_{absl::StrCat(testing::TempDir(), "/access_pki")};
  ProbeService probe_{AllServices()};
  std::unique_ptr<RpcServer> server_;
};

TEST_F(RpcAccessTest, EveryCellOfTheTable) {
  int allowed = 0;
  for (absl::string_view caller : identity::KnownIdentities()) {
    const auto channel = Connect(pki_.IssueIdentity(caller));
    for (const std::string& service : AllServices()) {
      std::string answer;
      const absl::Status status = Probe(channel, ProbePath(service), &answer);
      if (identity::MayCall(caller, service)) {
        EXPECT_TRUE(status.ok()) << caller << " " << service << " " << status;
        EXPECT_EQ(answer, caller);
        ++allowed;
      } else {
        EXPECT_TRUE(absl::IsPermissionDenied(status)) << caller << " " << service << " " << status;
      }
    }
  }
  // As many as the table in DESIGN has names (access_test.cc has the table itself).
  EXPECT_EQ(allowed, 13);
}

TEST_F(RpcAccessTest, UnknownServicesAndPathsAreDenied) {
  for (absl::string_view caller : identity::KnownIdentities()) {
    const auto channel = Connect(pki_.IssueIdentity(caller));
    for (const char* path : {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                             "/nothing/Probe", "/", "//Probe", "/postern.store.v1.DeliveryService",
                             "/postern.store.v1.DeliveryService2/Probe",
                             "postern.store.v1.DeliveryService/Probe", "/ /Probe"}) {
      EXPECT_TRUE(absl::IsPermissionDenied(Probe(channel, path))) << caller << " " << path;
    }
  }
}

TEST_F(RpcAccessTest, AnUnknownMethodOfAnAllowedServiceIsUnimplemented) {
  const auto channel = Connect(pki_.IssueIdentity(identity::kGatewayPop3));
  EXPECT_TRUE(absl::IsUnimplemented(Probe(channel, "/postern.store.v1.MaildropService/Nothing")));
}

TEST_F(RpcAccessTest, WhoeverHasNotExactlyOneKnownIdentityIsNobody) {
  const std::vector<std::vector<std::string>> strangers = {
      {},
      {"spiffe://postern/stranger"},
      {"spiffe://postern/"},
      {"spiffe://postern/gateway-pop3", "spiffe://postern/gateway-smtp-mx"},
      {"spiffe://postern/gateway-pop3", "spiffe://postern/gateway-pop3"},
      {"spiffe://postern/gateway-pop3", "https://example.test/"},
      {"spiffe://postern/gateway-pop3/"},
      {"spiffe://postern//gateway-pop3"},
      {"spiffe://POSTERN/gateway-pop3"},
      {"SPIFFE://postern/gateway-pop3"},
      {"spiffe://postern/Gateway-pop3"},
      {"spiffe://other/gateway-pop3"},
      {"spiffe://postern/gateway-pop3?x=1"},
      {"https://postern/gateway-pop3"},
  };
  for (const std::vector<std::string>& uris : strangers) {
    // The DNS SAN doesn't make it a caller either.
    const auto channel =
        Connect(pki_.Issue("stranger", {.uris = uris, .dns = {"gateway-pop3", "posternctl"}}));
    for (const std::string& service : AllServices()) {
      EXPECT_TRUE(absl::IsPermissionDenied(Probe(channel, ProbePath(service))))
          << (uris.empty() ? "no URI" : uris[0]) << " " << service;
    }
  }
}

TEST_F(RpcAccessTest, NoCertificateGetsNoConnection) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = *config::ReadSmallFile(pki_.ca_file(), 1 << 20);
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride(std::string(kServer));
  const auto channel =
      grpc::CreateCustomChannel(Target().target(), grpc::SslCredentials(options), arguments);
  for (const std::string& service : AllServices()) {
    EXPECT_TRUE(absl::IsUnavailable(Probe(channel, ProbePath(service)))) << service;
  }
}

TEST_F(RpcAccessTest, PlaintextGetsNoConnection) {
  const auto channel = grpc::CreateChannel(Target().target(), grpc::InsecureChannelCredentials());
  EXPECT_TRUE(absl::IsUnavailable(Probe(channel, ProbePath("postern.store.v1.MaildropService"))));
}

TEST_F(RpcAccessTest, ACertificateOfAnotherCaGetsNoConnection) {
  const identity::TestPki other(absl::StrCat(testing::TempDir(), "/other_pki"));
  for (absl::string_view caller : identity::KnownIdentities()) {
    config::v1::MutualTls tls = other.IssueIdentity(caller);
    // It trusts our server; our server must not trust it.
    tls.set_ca_file(pki_.ca_file());
    const auto channel = Connect(tls);
    for (const std::string& service : AllServices()) {
      EXPECT_TRUE(absl::IsUnavailable(Probe(channel, ProbePath(service)))) << caller << service;
    }
  }
}

TEST_F(RpcAccessTest, AServerWithAnotherIdentityIsRefused) {
  const auto tls = pki_.IssueIdentity(identity::kGatewayPop3);
  const std::string path = ProbePath("postern.store.v1.MaildropService");
  EXPECT_TRUE(Probe(Connect(tls), path).ok());
  for (absl::string_view wrong :
       {"auth-svc", "relay-svc", "store-svc.evil", "localhost", "127.0.0.1"}) {
    EXPECT_TRUE(absl::IsUnavailable(Probe(Connect(tls, wrong), path))) << wrong;
  }
}

TEST_F(RpcAccessTest, AServerOfAnotherCaIsRefused) {
  const identity::TestPki other(absl::StrCat(testing::TempDir(), "/third_pki"));
  config::v1::MutualTls tls = pki_.IssueIdentity(identity::kGatewayPop3);
  tls.set_ca_file(other.ca_file());
  EXPECT_TRUE(
      absl::IsUnavailable(Probe(Connect(tls), ProbePath("postern.store.v1.MaildropService"))));
}

TEST_F(RpcAccessTest, DenialsAreCountedUnderBoundedLabels) {
  const auto channel = Connect(pki_.IssueIdentity(identity::kAuthSvc));
  for (int i = 0; i < 5; ++i) {
    Probe(channel, absl::StrCat("/made.up.Service", i, "/Probe")).IgnoreError();
  }
  const std::string metrics = telemetry::RenderMetrics();
  EXPECT_NE(metrics.find("postern_rpc_denied_total{caller=\"auth-svc\",service=\"other\"}"),
            std::string::npos);
  EXPECT_EQ(metrics.find("made.up"), std::string::npos);
}

}  // namespace
}  // namespace postern::rpc
