// postern.auth.v1.DirectoryService: where addresses lead.
#ifndef POSTERN_AUTH_SVC_RPC_DIRECTORY_SERVICE_H_
#define POSTERN_AUTH_SVC_RPC_DIRECTORY_SERVICE_H_

#include <utility>

#include "auth-svc/domain/directory.h"
#include "auth-svc/domain/resolver.h"
#include "proto/postern/auth/v1/directory.grpc.pb.h"

namespace postern::auth {

// Thread-safe. The directory must outlive it. Answers on gRPC's own threads: a read takes tens of
// microseconds, less than a change of thread.
class DirectoryService final : public v1::DirectoryService::CallbackService {
 public:
  DirectoryService(Directory& directory, Resolver resolver)
      : directory_(directory), resolver_(std::move(resolver)) {}

  grpc::ServerUnaryReactor* ResolveRecipient(grpc::CallbackServerContext* context,
                                             const v1::ResolveRecipientRequest* request,
                                             v1::ResolveRecipientResponse* response) override;
  grpc::ServerUnaryReactor* ListLocalDomains(grpc::CallbackServerContext* context,
                                             const v1::ListLocalDomainsRequest* request,
                                             v1::ListLocalDomainsResponse* response) override;
  grpc::ServerUnaryReactor* CheckSenderIdentity(grpc::CallbackServerContext* context,
                                                const v1::CheckSenderIdentityRequest* request,
                                                v1::CheckSenderIdentityResponse* response) override;

 private:
  Directory& directory_;
  const Resolver resolver_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_RPC_DIRECTORY_SERVICE_H_
