// The one place where a call is let in or turned away.
#ifndef POSTERN_SERVICES_RPC_ACCESS_PROCESSOR_H_
#define POSTERN_SERVICES_RPC_ACCESS_PROCESSOR_H_

#include "grpcpp/security/auth_metadata_processor.h"

namespace postern::rpc {

// gRPC asks it about every call of a server, of known and unknown methods, before a handler is
// chosen. Stateless; any thread.
class AccessProcessor final : public grpc::AuthMetadataProcessor {
 public:
  // Answers on the spot, on the thread that read the call.
  bool IsBlocking() const override { return false; }
  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* peer,
                       OutputMetadata* consumed, OutputMetadata* response) override;
};

}  // namespace postern::rpc

#endif  // POSTERN_SERVICES_RPC_ACCESS_PROCESSOR_H_
