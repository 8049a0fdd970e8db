#include "gateway-pop3/service.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gateway-pop3/session.h"
#include "gateway-pop3/session_metrics.h"
#include "grpcpp/channel.h"
#include "services/clients/auth_client.h"
#include "services/clients/store_client.h"
#include "services/identity/access.h"
#include "services/net/gateway.h"
#include "services/rpc/channel.h"

namespace postern::gateway_pop3 {

namespace {

using config::v1::GatewayPop3;

class Pop3Gateway : public process::RunningService {
 public:
  absl::Status Start(const GatewayPop3& config) {
    Metrics();  // A rate misses what made its counter appear.
    auto domains = net::LoadSecurityDomains(config.security_domains());
    if (!domains.ok()) return domains.status();

    auto auth_channel =
        rpc::ConnectTo(config.auth_svc(), config.process().mtls(), identity::kAuthSvc);
    if (!auth_channel.ok()) return auth_channel.status();
    auth_channel_ = *std::move(auth_channel);
    authentication_ = clients::MakeAuthenticationClient(auth_channel_);
    mechanisms_ =
        std::make_unique<net::OfferedMechanisms>(authentication_.get(), config.hostname());
    auto store_channel =
        rpc::ConnectTo(config.store_svc(), config.process().mtls(), identity::kStoreSvc);
    if (!store_channel.ok()) return store_channel.status();
    store_channel_ = *std::move(store_channel);
    maildrops_ = clients::MakeMaildropClient(store_channel_);

    std::vector<net::GatewayListener> listeners;
    for (const config::v1::Listener& listener : config.listeners()) {
      SessionSetup& setup = *setups_.emplace_back(std::make_unique<SessionSetup>());
      setup.options.hostname = config.hostname();
      setup.options.stls = listener.tls_enabled();
      setup.options.implicit_tls = listener.implicit_tls();
      setup.options.max_auth_failures = config.max_auth_failures();
      setup.authentication = authentication_.get();
      setup.mechanisms = mechanisms_.get();
      setup.maildrops = maildrops_.get();

      net::GatewayListener& made = listeners.emplace_back();
      made.config = listener;
      made.default_connections_per_client = net::kUsersConnections;
      made.run = [setup = &setup](net::SessionContext context) {
        return RunSession(std::move(context), setup);
      };
      made.too_busy = "-ERR [SYS/TEMP] Too many connections, try again later\r\n";
    }
    auto gateway = net::Gateway::Start(std::move(listeners), *domains, config.threads());
    if (!gateway.ok()) return gateway.status();
    gateway_ = *std::move(gateway);
    return absl::OkStatus();
  }

  absl::Status Ready() override {
    if (auth_channel_->GetState(/*try_to_connect=*/true) != GRPC_CHANNEL_READY) {
      return absl::UnavailableError("no connection to auth-svc");
    }
    if (store_channel_->GetState(/*try_to_connect=*/true) != GRPC_CHANNEL_READY) {
      return absl::UnavailableError("no connection to store-svc");
    }
    return absl::OkStatus();
  }

  std::map<std::string, int> Ports() const override { return gateway_->Ports(); }
  void Drain(absl::Duration grace) override { gateway_->Drain(grace); }

 private:
  std::shared_ptr<grpc::Channel> auth_channel_;
  std::shared_ptr<grpc::Channel> store_channel_;
  std::unique_ptr<clients::AuthenticationClient> authentication_;
  std::unique_ptr<net::OfferedMechanisms> mechanisms_;
  std::unique_ptr<clients::MaildropClient> maildrops_;
  std::vector<std::unique_ptr<SessionSetup>> setups_;
  // First to go: its sessions use the rest.
  std::unique_ptr<net::Gateway> gateway_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<process::RunningService>> MakeService(const GatewayPop3& config) {
  auto service = std::make_unique<Pop3Gateway>();
  const absl::Status status = service->Start(config);
  if (!status.ok()) return status;
  return std::unique_ptr<process::RunningService>(std::move(service));
}

}  // namespace postern::gateway_pop3
