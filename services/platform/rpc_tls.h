// What both ends of an RPC share: gRPC's own settings, the mutual TLS files, who the peer is.
#ifndef POSTERN_SERVICES_PLATFORM_RPC_TLS_H_
#define POSTERN_SERVICES_PLATFORM_RPC_TLS_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "grpcpp/security/auth_context.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "proto/postern/config/v1/process.pb.h"

namespace postern::platform {

// How often the certificate files are looked at.
inline constexpr unsigned kCertificateRefreshSeconds = 1;

// Before the first server or channel; idempotent. gRPC's log goes to ours.
void PrepareGrpc();

// gRPC only says later, and only in its log, what is wrong with a file. INVALID_ARGUMENT names the
// setting and the file: absent, not PEM, or a key of another certificate.
absl::Status CheckMutualTls(const config::v1::MutualTls& tls);

// Reads the files now and whenever they change (one thread each).
std::shared_ptr<grpc::experimental::CertificateProviderInterface> WatchCertificates(
    const config::v1::MutualTls& tls);

// The peer's identity: known to access.h, and the only URI SAN of its certificate; "" otherwise.
// One of KnownIdentities(), so it outlives everything.
absl::string_view PeerIdentity(const grpc::AuthContext& peer);

}  // namespace postern::platform

#endif  // POSTERN_SERVICES_PLATFORM_RPC_TLS_H_
