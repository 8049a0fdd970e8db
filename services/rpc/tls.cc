#include "services/rpc/tls.h"

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/call_once.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpc/grpc_security_constants.h"
#include "grpc/support/log.h"
#include "services/identity/access.h"
#include "services/identity/certificate_stage.h"
#include "services/telemetry/log.h"

namespace postern::rpc {
namespace {

// How often gRPC looks at what the stage holds.
constexpr unsigned kCertificateRefreshSeconds = 1;
constexpr absl::string_view kIdentityPrefix = "spiffe://postern/";

// gRPC 1.51 has no public setting for the lowest TLS version. It takes TLS 1.2's cipher suites from
// the environment, though: with none but a PSK suite, for which neither end ever has a key, only a
// TLS 1.3 handshake can succeed (docs/adr/0001-tls13-only-grpc.md). Set before main(), since
// setenv is not for a process with threads.
const bool tls12_is_impossible = [] {
  return setenv("GRPC_SSL_CIPHER_SUITES", "PSK-AES128-GCM-SHA256", /*overwrite=*/1) == 0;
}();

// At most this many of gRPC's lines a second: a peer that fails its handshakes in a loop must not
// fill the disk.
constexpr int kMaxGrpcLinesPerSecond = 10;

void LogFromGrpc(gpr_log_func_args* args) {
  static std::atomic<int64_t> second{0};
  static std::atomic<int> lines{0};
  const int64_t now = absl::ToUnixSeconds(absl::Now());
  if (second.exchange(now, std::memory_order_relaxed) != now) {
    lines.store(0, std::memory_order_relaxed);
  }
  if (lines.fetch_add(1, std::memory_order_relaxed) >= kMaxGrpcLinesPerSecond) {
    return;
  }
  // What gRPC calls an error is a failed handshake or connection more often than not.
  telemetry::Log(args->severity == GPR_LOG_SEVERITY_ERROR ? telemetry::LogLevel::kWarning
                                                          : telemetry::LogLevel::kDebug,
                 "grpc", {{"message", args->message}, {"file", args->file}, {"line", args->line}});
}

}  // namespace

void PrepareGrpc() {
  static absl::once_flag once;
  absl::call_once(once, [] {
    if (!tls12_is_impossible) {
      std::abort();
    }
    gpr_set_log_function(LogFromGrpc);
  });
}

absl::StatusOr<std::shared_ptr<grpc::experimental::CertificateProviderInterface>> WatchCertificates(
    const config::v1::MutualTls& tls) {
  const absl::StatusOr<const identity::CertificateStage*> stage =
      identity::CertificateStage::For(tls);
  if (!stage.ok()) {
    return stage.status();
  }
  const std::string key_and_chain = (*stage)->key_and_chain_path();
  return std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      key_and_chain, key_and_chain, (*stage)->ca_path(), kCertificateRefreshSeconds);
}

absl::string_view PeerIdentity(const grpc::AuthContext& peer) {
  static const auto& property = *new std::string(GRPC_PEER_URI_PROPERTY_NAME);
  const std::vector<grpc::string_ref> uris = peer.FindPropertyValues(property);
  if (uris.size() != 1) {
    return "";
  }
  absl::string_view uri(uris[0].data(), uris[0].size());
  if (!absl::ConsumePrefix(&uri, kIdentityPrefix)) {
    return "";
  }
  for (absl::string_view known : identity::KnownIdentities()) {
    if (uri == known) {
      return known;
    }
  }
  return "";
}

}  // namespace postern::rpc
