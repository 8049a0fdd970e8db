// postern.auth.v1.DirectoryService: where addresses lead.
#ifndef POSTERN_AUTH_SVC_RPC_DIRECTORY_SERVICE_H_
#define POSTERN_AUTH_SVC_RPC_DIRECTORY_SERVICE_H_

#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "auth-svc/domain/canonical.h"
#include "auth-svc/domain/directory.h"
#include "auth-svc/domain/mirror.h"
#include "auth-svc/domain/resolver.h"
#include "proto/postern/auth/v1/directory.grpc.pb.h"
#include "services/process/clock.h"
#include "services/process/worker_pool.h"

namespace postern::auth {

// Thread-safe.
class DirectoryService final : public v1::DirectoryService::CallbackService {
 public:
  // What `directory`, `mirror` and `pool`, on which it is read, hold must outlive every call.
  DirectoryService(Directory& directory, Mirror& mirror, Resolver resolver,
                   process::WorkerPool& pool, process::Clock clock)
      : directory_(directory),
        mirror_(mirror),
        resolver_(std::move(resolver)),
        pool_(pool),
        clock_(std::move(clock)) {}

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
  // Answers with what it returns. The addresses that the answer rests on go into `addresses`: when
  // the rows of one may not be true any more it is read again.
  using Question = absl::AnyInvocable<absl::Status(DirectoryReader&, std::vector<Address>*)>;
  struct Call;

  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, absl::string_view method,
                                   Question question);
  void Read(std::shared_ptr<Call> call);

  Directory& directory_;
  Mirror& mirror_;
  const Resolver resolver_;
  process::WorkerPool& pool_;
  const process::Clock clock_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_RPC_DIRECTORY_SERVICE_H_
