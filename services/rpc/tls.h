// What both ends of an RPC share: gRPC's own settings, the mutual TLS files, who the peer is.
#ifndef POSTERN_SERVICES_RPC_TLS_H_
#define POSTERN_SERVICES_RPC_TLS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "grpcpp/security/auth_context.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "proto/postern/config/v1/process.pb.h"

namespace postern::rpc {

// Before the first server or channel; idempotent. gRPC's log goes to ours.
void PrepareGrpc();

// What TLS credentials take. The files are read now and again within two seconds of a change; a
// broken change is logged and leaves the old ones in force. INVALID_ARGUMENT names the setting and
// the file at fault.
absl::StatusOr<std::shared_ptr<grpc::experimental::CertificateProviderInterface>> WatchCertificates(
    const config::v1::MutualTls& tls);

// The peer's identity: known to access.h, and the only URI SAN of its certificate; "" otherwise.
// One of KnownIdentities(), so it outlives everything.
absl::string_view PeerIdentity(const grpc::AuthContext& peer);

}  // namespace postern::rpc

#endif  // POSTERN_SERVICES_RPC_TLS_H_
