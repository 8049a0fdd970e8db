// postern.auth.v1.DirectoryService: where addresses lead.
#ifndef POSTERN_AUTH_SVC_RPC_DIRECTORY_SERVICE_H_
#define POSTERN_AUTH_SVC_RPC_DIRECTORY_SERVICE_H_

#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "auth-svc/domain/directory.h"
#include "auth-svc/domain/resolver.h"
#include "proto/postern/auth/v1/directory.grpc.pb.h"
#include "services/process/worker_pool.h"

namespace postern::auth {

// Thread-safe.
class DirectoryService final : public v1::DirectoryService::CallbackService {
 public:
  // What `directory` and `pool`, on which it is read, hold must outlive every call.
  DirectoryService(Directory& directory, Resolver resolver, process::WorkerPool& pool)
      : directory_(directory), resolver_(std::move(resolver)), pool_(pool) {}

  grpc::ServerUnaryReactor* ResolveRecipient(grpc::CallbackServerContext* context,
                                             const v1::ResolveRecipientRequest* request,
                                             v1::ResolveRecipientResponse* response) override;
  grpc::ServerUnaryReactor* ListLocalDomains(grpc::CallbackServerContext* context,
                                             const v1::ListLocalDomainsRequest* request,
                                             v1::ListLocalDomainsResponse* response) override;
  grpc::ServerUnaryReactor* MaySendAs(grpc::CallbackServerContext* context,
                                      const v1::MaySendAsRequest* request,
                                      v1::MaySendAsResponse* response) override;

 private:
  // Answers with what `read` returns, which runs on the pool.
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, absl::string_view method,
                                   absl::AnyInvocable<absl::Status(DirectoryReader&)> read);

  Directory& directory_;
  const Resolver resolver_;
  process::WorkerPool& pool_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_RPC_DIRECTORY_SERVICE_H_
