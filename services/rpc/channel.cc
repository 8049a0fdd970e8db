#include "grpcpp/channel.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "grpc/grpc.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "grpcpp/support/channel_arguments.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/rpc/channel.h"
#include "services/rpc/limits.h"
#include "services/rpc/tls.h"

namespace postern::rpc {
namespace {

// A service that was restarted is found again within these.
constexpr int kInitialBackoffMs = 50;
constexpr int kMaxBackoffMs = 2000;
// New replicas and addresses are seen after this at the earliest.
constexpr int kShortestResolutionIntervalMs = 2000;

grpc::ChannelArguments Arguments(const config::v1::RpcTarget& target,
                                 absl::string_view server_identity) {
  grpc::ChannelArguments arguments;
  const int silence_ms = static_cast<int>(target.keepalive_timeout_seconds() * 1000);
  // Also the authority of every call; both are checked against the certificate's DNS SAN.
  arguments.SetSslTargetNameOverride(std::string(server_identity));
  // Unlike pick_first it connects again by itself, so that the next call finds a warm connection;
  // with one address they are the same otherwise.
  arguments.SetLoadBalancingPolicyName("round_robin");
  arguments.SetMaxReceiveMessageSize(kMaxRpcMessageOctets);
  arguments.SetMaxSendMessageSize(kMaxRpcMessageOctets);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kInitialBackoffMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxBackoffMs);
  // How long one attempt to connect may take, handshake included. A call that waits for it when its
  // patience ends (call_context.h) waits so much longer.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, silence_ms / 2);
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, kShortestResolutionIntervalMs);
  // A ping after half of the silence, and the other half for its answer.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, silence_ms / 2);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, silence_ms / 2);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // A slow reader holds one window of a message, not the megabytes that probing would grow it to.
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  // Neither a TXT record nor the environment decides how our hops behave.
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

// gRPC makes progress on a channel only while somebody polls for it, and with the callback API
// nobody does until the first call: a handshake would time out, unseen. This thread watches the
// channel's state and polls meanwhile, so that the channel connects, and connects again, by itself.
class WarmChannel {
 public:
  explicit WarmChannel(std::shared_ptr<grpc::Channel> channel)
      : channel_(std::move(channel)), thread_([this] { Run(); }) {}
  ~WarmChannel() {
    stopping_ = true;
    thread_.join();
  }
  WarmChannel(const WarmChannel&) = delete;
  WarmChannel& operator=(const WarmChannel&) = delete;

  grpc::Channel* channel() const { return channel_.get(); }

 private:
  // A watch can't be cancelled: its end bounds how long the destructor waits.
  static constexpr std::chrono::milliseconds kWatch{250};

  void Run() {
    grpc::CompletionQueue queue;
    void* tag = nullptr;
    bool changed = false;
    while (!stopping_) {
      channel_->NotifyOnStateChange(channel_->GetState(/*try_to_connect=*/true),
                                    std::chrono::system_clock::now() + kWatch, &queue, nullptr);
      queue.Next(&tag, &changed);
    }
    queue.Shutdown();
    while (queue.Next(&tag, &changed)) {
    }
  }

  const std::shared_ptr<grpc::Channel> channel_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> ConnectTo(const config::v1::RpcTarget& target,
                                                         const config::v1::MutualTls& tls,
                                                         absl::string_view server_identity) {
  PrepareGrpc();
  if (target.target().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the target of ", server_identity, " is not set"));
  }
  auto certificates = WatchCertificates(tls);
  if (!certificates.ok()) {
    return certificates.status();
  }
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(*std::move(certificates));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  // Starts to connect now, without waiting for it: services start in any order.
  const auto warm = std::make_shared<WarmChannel>(
      grpc::CreateCustomChannel(target.target(), grpc::experimental::TlsCredentials(options),
                                Arguments(target, server_identity)));
  return std::shared_ptr<grpc::Channel>(warm, warm->channel());
}

}  // namespace postern::rpc
