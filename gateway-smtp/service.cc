#include "gateway-smtp/service.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gateway-smtp/session.h"
#include "gateway-smtp/session_metrics.h"
#include "grpcpp/channel.h"
#include "services/clients/auth_client.h"
#include "services/clients/relay_client.h"
#include "services/clients/store_client.h"
#include "services/identity/access.h"
#include "services/net/gateway.h"
#include "services/rpc/channel.h"

namespace postern::gateway_smtp {
namespace {

using config::v1::GatewaySmtp;

// What sessions use. Shared with the listeners' session functions: a session that waits for a
// service may be left behind at the end of the process.
class Upstream {
 public:
  absl::Status Connect(const GatewaySmtp& config) {
    absl::Status status = Open(config, config.relay_svc(), identity::kRelaySvc);
    if (!status.ok()) return status;
    const std::shared_ptr<grpc::Channel> relay = channels_.back().second;
    policy_ = clients::MakePolicyClient(relay);
    if (config.role() == GatewaySmtp::mx) {
      forwarding_ = clients::MakeForwardingClient(relay);
      status = Open(config, config.store_svc(), identity::kStoreSvc);
      if (!status.ok()) return status;
      delivery_ =
          clients::MakeDeliveryClient(channels_.back().second, clients::SmallBodies::kOpenCall);
      return absl::OkStatus();
    }
    submission_ = clients::MakeSubmissionClient(relay);
    status = Open(config, config.auth_svc(), identity::kAuthSvc);
    if (!status.ok()) return status;
    authentication_ = clients::MakeAuthenticationClient(channels_.back().second);
    mechanisms_ =
        std::make_unique<net::OfferedMechanisms>(authentication_.get(), config.hostname());
    return absl::OkStatus();
  }

  absl::Status Ready() const {
    for (const auto& [name, channel] : channels_) {
      if (channel->GetState(/*try_to_connect=*/true) != GRPC_CHANNEL_READY) {
        return absl::UnavailableError(absl::StrCat("no connection to ", name));
      }
    }
    return absl::OkStatus();
  }

  // Lives as long as this.
  const SessionSetup* SetupFor(const GatewaySmtp& config, const config::v1::Listener& listener) {
    SessionSetup& setup = *setups_.emplace_back(std::make_unique<SessionSetup>());
    setup.options.hostname = config.hostname();
    setup.options.starttls = listener.tls_enabled();
    setup.options.implicit_tls = listener.implicit_tls();
    setup.options.require_tls = listener.require_tls();
    setup.options.submission = config.role() == GatewaySmtp::submission;
    setup.options.max_message_octets = config.limits().max_message_octets();
    setup.options.max_recipients = config.limits().max_recipients();
    setup.options.max_errors = config.limits().max_errors();
    setup.policy = policy_.get();
    setup.delivery = delivery_.get();
    setup.forwarding = forwarding_.get();
    setup.authentication = authentication_.get();
    setup.mechanisms = mechanisms_.get();
    setup.submission = submission_.get();
    return &setup;
  }

 private:
  absl::Status Open(const GatewaySmtp& config, const config::v1::RpcTarget& target,
                    absl::string_view identity) {
    auto channel = rpc::ConnectTo(target, config.process().mtls(), identity);
    if (!channel.ok()) return channel.status();
    channels_.emplace_back(std::string(identity), *std::move(channel));
    return absl::OkStatus();
  }

  std::vector<std::pair<std::string, std::shared_ptr<grpc::Channel>>> channels_;
  std::unique_ptr<clients::PolicyClient> policy_;
  std::unique_ptr<clients::DeliveryClient> delivery_;
  std::unique_ptr<clients::SubmissionClient> forwarding_;
  std::unique_ptr<clients::AuthenticationClient> authentication_;
  std::unique_ptr<net::OfferedMechanisms> mechanisms_;
  std::unique_ptr<clients::SubmissionClient> submission_;
  std::vector<std::unique_ptr<SessionSetup>> setups_;
};

// A large provider's outgoing server opens a few dozen at most.
constexpr int kServersConnections = 50;

class SmtpGateway : public process::RunningService {
 public:
  absl::Status Start(const GatewaySmtp& config) {
    Metrics();  // A rate misses what made its counter appear.
    auto domains = net::LoadSecurityDomains(config.security_domains());
    if (!domains.ok()) return domains.status();
    const absl::Status status = upstream_->Connect(config);
    if (!status.ok()) return status;

    std::vector<net::GatewayListener> listeners;
    for (const config::v1::Listener& listener : config.listeners()) {
      net::GatewayListener& made = listeners.emplace_back();
      made.config = listener;
      made.default_connections_per_client =
          config.role() == GatewaySmtp::mx ? kServersConnections : net::kUsersConnections;
      made.run = [upstream = upstream_, setup = upstream_->SetupFor(config, listener)](
                     net::SessionContext context) { return RunSession(std::move(context), setup); };
      made.too_busy = absl::StrCat("421 4.3.2 ", config.hostname(),
                                   " Too many connections, try again later\r\n");
    }
    auto gateway = net::Gateway::Start(std::move(listeners), *domains, config.threads());
    if (!gateway.ok()) return gateway.status();
    gateway_ = *std::move(gateway);
    return absl::OkStatus();
  }

  absl::Status Ready() override { return upstream_->Ready(); }
  std::map<std::string, int> Ports() const override { return gateway_->Ports(); }
  void Drain(absl::Duration grace) override { gateway_->Drain(grace); }

 private:
  const std::shared_ptr<Upstream> upstream_ = std::make_shared<Upstream>();
  std::unique_ptr<net::Gateway> gateway_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<process::RunningService>> MakeService(const GatewaySmtp& config) {
  auto service = std::make_unique<SmtpGateway>();
  const absl::Status status = service->Start(config);
  if (!status.ok()) return status;
  return std::unique_ptr<process::RunningService>(std::move(service));
}

}  // namespace postern::gateway_smtp
