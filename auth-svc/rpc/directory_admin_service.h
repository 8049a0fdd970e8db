// postern.auth.v1.DirectoryAdminService: the directory's upkeep by posternctl.
#ifndef POSTERN_AUTH_SVC_RPC_DIRECTORY_ADMIN_SERVICE_H_
#define POSTERN_AUTH_SVC_RPC_DIRECTORY_ADMIN_SERVICE_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "auth-svc/domain/directory.h"
#include "auth-svc/domain/login_trial.h"
#include "auth-svc/domain/mirror.h"
#include "auth-svc/domain/password.h"
#include "auth-svc/domain/upkeep.h"
#include "proto/postern/auth/v1/directory_admin.grpc.pb.h"
#include "services/process/clock.h"
#include "services/process/worker_pool.h"

namespace postern::auth {

// Thread-safe. What is passed by reference must outlive it, and the pools must be empty when it
// dies. Changes and lists run on `admin_pool`, since a change waits for an fsync; those with a
// password on `hashing_pool`.
class DirectoryAdminService final : public v1::DirectoryAdminService::CallbackService {
 public:
  DirectoryAdminService(Directory& directory, Mirror& mirror, Upkeep upkeep, PasswordKeeper keeper,
                        process::WorkerPool& admin_pool, process::WorkerPool& hashing_pool,
                        process::Clock clock)
      : directory_(directory),
        mirror_(mirror),
        upkeep_(std::move(upkeep)),
        keeper_(keeper),
        trial_(directory, mirror, keeper.hasher(), hashing_pool),
        admin_pool_(admin_pool),
        hashing_pool_(hashing_pool),
        clock_(std::move(clock)) {}

  grpc::ServerUnaryReactor* AddDomain(grpc::CallbackServerContext* context,
                                      const v1::AddDomainRequest* request,
                                      v1::AddDomainResponse* response) override;
  grpc::ServerUnaryReactor* ListDomains(grpc::CallbackServerContext* context,
                                        const v1::ListDomainsRequest* request,
                                        v1::ListDomainsResponse* response) override;
  grpc::ServerUnaryReactor* RemoveDomain(grpc::CallbackServerContext* context,
                                         const v1::RemoveDomainRequest* request,
                                         v1::RemoveDomainResponse* response) override;
  grpc::ServerUnaryReactor* SetDomainEnabled(grpc::CallbackServerContext* context,
                                             const v1::SetDomainEnabledRequest* request,
                                             v1::SetDomainEnabledResponse* response) override;
  grpc::ServerUnaryReactor* SetLoginPolicy(grpc::CallbackServerContext* context,
                                           const v1::SetLoginPolicyRequest* request,
                                           v1::SetLoginPolicyResponse* response) override;
  grpc::ServerUnaryReactor* AddAccount(grpc::CallbackServerContext* context,
                                       const v1::AddAccountRequest* request,
                                       v1::AddAccountResponse* response) override;
  grpc::ServerUnaryReactor* ListAccounts(grpc::CallbackServerContext* context,
                                         const v1::ListAccountsRequest* request,
                                         v1::ListAccountsResponse* response) override;
  grpc::ServerUnaryReactor* RemoveAccount(grpc::CallbackServerContext* context,
                                          const v1::RemoveAccountRequest* request,
                                          v1::RemoveAccountResponse* response) override;
  grpc::ServerUnaryReactor* SetPassword(grpc::CallbackServerContext* context,
                                        const v1::SetPasswordRequest* request,
                                        v1::SetPasswordResponse* response) override;
  grpc::ServerUnaryReactor* SetAccountEnabled(grpc::CallbackServerContext* context,
                                              const v1::SetAccountEnabledRequest* request,
                                              v1::SetAccountEnabledResponse* response) override;
  grpc::ServerUnaryReactor* AddAppPassword(grpc::CallbackServerContext* context,
                                           const v1::AddAppPasswordRequest* request,
                                           v1::AddAppPasswordResponse* response) override;
  grpc::ServerUnaryReactor* ListAppPasswords(grpc::CallbackServerContext* context,
                                             const v1::ListAppPasswordsRequest* request,
                                             v1::ListAppPasswordsResponse* response) override;
  grpc::ServerUnaryReactor* RemoveAppPassword(grpc::CallbackServerContext* context,
                                              const v1::RemoveAppPasswordRequest* request,
                                              v1::RemoveAppPasswordResponse* response) override;
  grpc::ServerUnaryReactor* AddAlias(grpc::CallbackServerContext* context,
                                     const v1::AddAliasRequest* request,
                                     v1::AddAliasResponse* response) override;
  grpc::ServerUnaryReactor* SetAliasSenders(grpc::CallbackServerContext* context,
                                            const v1::SetAliasSendersRequest* request,
                                            v1::SetAliasSendersResponse* response) override;
  grpc::ServerUnaryReactor* SetAliasTargets(grpc::CallbackServerContext* context,
                                            const v1::SetAliasTargetsRequest* request,
                                            v1::SetAliasTargetsResponse* response) override;
  grpc::ServerUnaryReactor* ListAliases(grpc::CallbackServerContext* context,
                                        const v1::ListAliasesRequest* request,
                                        v1::ListAliasesResponse* response) override;
  grpc::ServerUnaryReactor* RemoveAlias(grpc::CallbackServerContext* context,
                                        const v1::RemoveAliasRequest* request,
                                        v1::RemoveAliasResponse* response) override;
  grpc::ServerUnaryReactor* Import(grpc::CallbackServerContext* context,
                                   const v1::ImportRequest* request,
                                   v1::ImportResponse* response) override;
  grpc::ServerUnaryReactor* TestLogin(grpc::CallbackServerContext* context,
                                      const v1::TestLoginRequest* request,
                                      v1::TestLoginResponse* response) override;

 private:
  // What a change is called, on what, and the caller's id for it.
  struct Change {
    absl::string_view method;
    std::string subject;
    const std::string& request_id;
    google::protobuf::MessageLite* response;
  };

  // Finishes the call with what `body` returns, on `pool`.
  grpc::ServerUnaryReactor* Run(process::WorkerPool& pool, grpc::CallbackServerContext* context,
                                absl::AnyInvocable<absl::Status()> body);
  // Runs `body` in a transaction, once for each request_id within an hour: a repetition gets the
  // first answer.
  absl::Status Apply(grpc::CallbackServerContext* context, const Change& change,
                     absl::FunctionRef<absl::Status(DirectoryWriter&)> body);
  // Apply on `admin_pool`.
  grpc::ServerUnaryReactor* Submit(grpc::CallbackServerContext* context, Change change,
                                   absl::AnyInvocable<absl::Status(DirectoryWriter&)> body);
  // Submit, once whom an external directory has under the addresses is known here.
  grpc::ServerUnaryReactor* SubmitAbout(const std::vector<std::string>& addresses,
                                        grpc::CallbackServerContext* context, Change change,
                                        absl::AnyInvocable<absl::Status(DirectoryWriter&)> body);
  // What is kept of the password, or of the hash, of a request.
  template <typename Request>
  absl::StatusOr<StoredPassword> KeptOf(const Request& request);
  // Does the same with what is kept of the new password, on `hashing_pool`.
  template <typename Request>
  grpc::ServerUnaryReactor* SubmitWithPassword(
      grpc::CallbackServerContext* context, Change change, const Request* request,
      absl::AnyInvocable<absl::Status(DirectoryWriter&, StoredPassword)> body);
  absl::Status ImportOne(DirectoryWriter& writer, const v1::ImportRequest::Entry& entry) const;
  // An alias's change, once its targets are known.
  template <typename Response>
  grpc::ServerUnaryReactor* SubmitAlias(
      grpc::CallbackServerContext* context, absl::string_view method, const std::string& request_id,
      const v1::Alias& asked, Response* response,
      absl::StatusOr<Alias> (Upkeep::*write)(DirectoryWriter&, const NewAlias&) const);
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 absl::AnyInvocable<absl::Status(DirectoryReader&)> body);

  Directory& directory_;
  Mirror& mirror_;
  const Upkeep upkeep_;
  const PasswordKeeper keeper_;
  LoginTrial trial_;
  process::WorkerPool& admin_pool_;
  process::WorkerPool& hashing_pool_;
  const process::Clock clock_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_RPC_DIRECTORY_ADMIN_SERVICE_H_
