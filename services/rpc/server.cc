#include "grpcpp/server.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpc/grpc.h"
#include "grpc/grpc_security_constants.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "grpcpp/server_builder.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/rpc/access_processor.h"
#include "services/rpc/limits.h"
#include "services/rpc/server.h"
#include "services/rpc/server_metrics.h"
#include "services/rpc/tls.h"

namespace postern::rpc {
namespace {

// Streams at once on one connection. A pop3 gateway holds one for each session.
constexpr int kMaxConcurrentStreams = 10000;
// A peer that is gone without a word (a node that lost power) is noticed after both.
constexpr absl::Duration kKeepaliveTime = absl::Seconds(20);
constexpr absl::Duration kKeepaliveTimeout = absl::Seconds(10);
// Our clients ping twice a second at most (RpcTarget.keepalive_timeout_seconds), with or without
// calls; more often than this is an abuse.
constexpr absl::Duration kShortestPingInterval = absl::Milliseconds(200);

int Milliseconds(absl::Duration d) { return static_cast<int>(absl::ToInt64Milliseconds(d)); }

std::string JoinHostPort(const std::string& address, int port) {
  return absl::StrContains(address, ':') ? absl::StrCat("[", address, "]:", port)
                                         : absl::StrCat(address, ":", port);
}

// gRPC doesn't say why it could not bind: the same attempt once more does.
std::string WhyNotBound(const config::v1::RpcListener& listener) {
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* addresses = nullptr;
  const int error = getaddrinfo(listener.address().c_str(), std::to_string(listener.port()).c_str(),
                                &hints, &addresses);
  if (error != 0) {
    return gai_strerror(error);
  }
  const absl::Cleanup free_addresses = [addresses] { freeaddrinfo(addresses); };
  for (const addrinfo* a = addresses; a != nullptr; a = a->ai_next) {
    const int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
      return strerror(errno);
    }
    const int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    const int bound = bind(fd, a->ai_addr, a->ai_addrlen) == 0 ? listen(fd, 1) : -1;
    const int why = errno;
    close(fd);
    if (bound != 0) {
      return strerror(why);
    }
  }
  return "cannot be bound";
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(
    const config::v1::MutualTls& tls) {
  auto certificates = WatchCertificates(tls);
  if (!certificates.ok()) {
    return certificates.status();
  }
  grpc::experimental::TlsServerCredentialsOptions options(*std::move(certificates));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  std::shared_ptr<grpc::ServerCredentials> credentials =
      grpc::experimental::TlsServerCredentials(options);
  credentials->SetAuthMetadataProcessor(std::make_shared<AccessProcessor>());
  return credentials;
}

}  // namespace

RpcServer::RpcServer() = default;

RpcServer::~RpcServer() { Drain(absl::ZeroDuration()); }

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(
    const config::v1::RpcListener& listener, const config::v1::MutualTls& tls,
    const std::vector<grpc::Service*>& services) {
  PrepareGrpc();
  absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials = MakeCredentials(tls);
  if (!credentials.ok()) {
    return credentials.status();
  }
  const std::string address = JoinHostPort(listener.address(), listener.port());
  grpc::ServerBuilder builder;
  std::unique_ptr<RpcServer> server(new RpcServer());
  builder.AddListeningPort(address, *credentials, &server->port_);
  // With it, a second process would quietly take half of the first one's connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(kMaxRpcMessageOctets);
  builder.SetMaxSendMessageSize(kMaxRpcMessageOctets);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxConcurrentStreams);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS,
                             Milliseconds(absl::Seconds(listener.max_connection_age_seconds())));
  builder.AddChannelArgument(
      GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS,
      Milliseconds(absl::Seconds(listener.max_connection_age_grace_seconds())));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(kKeepaliveTime));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(kKeepaliveTimeout));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             Milliseconds(kShortestPingInterval));
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(MakeRpcMetrics());
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  for (grpc::Service* service : services) {
    builder.RegisterService(service);
  }
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || server->port_ == 0) {
    return absl::InvalidArgumentError(absl::StrCat("rpc.address, rpc.port: cannot listen on ",
                                                   address, ": ", WhyNotBound(listener)));
  }
  return server;
}

void RpcServer::Drain(absl::Duration grace) {
  if (server_ != nullptr) {
    server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  }
}

}  // namespace postern::rpc
