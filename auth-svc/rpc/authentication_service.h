// postern.auth.v1.AuthenticationService: SASL exchanges to tokens.
#ifndef POSTERN_AUTH_SVC_RPC_AUTHENTICATION_SERVICE_H_
#define POSTERN_AUTH_SVC_RPC_AUTHENTICATION_SERVICE_H_

#include <atomic>

#include "absl/time/time.h"
#include "auth-svc/domain/authenticator.h"
#include "auth-svc/rpc/login_failures.h"
#include "proto/postern/auth/v1/authentication.grpc.pb.h"
#include "services/identity/token.h"
#include "services/process/clock.h"

namespace postern::auth {

// Thread-safe. The authenticator and the signer must outlive it.
class AuthenticationService final : public v1::AuthenticationService::CallbackService {
 public:
  AuthenticationService(Authenticator& authenticator, const identity::TokenSigner& signer,
                        process::Clock clock, absl::Duration token_lifetime);

  grpc::ServerBidiReactor<v1::AuthenticateRequest, v1::AuthenticateResponse>* Authenticate(
      grpc::CallbackServerContext* context) override;

 private:
  class Exchange;

  Authenticator& authenticator_;
  const identity::TokenSigner& signer_;
  const process::Clock clock_;
  const absl::Duration token_lifetime_;
  std::atomic<int> exchanges_{0};
  LoginFailures login_failures_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_RPC_AUTHENTICATION_SERVICE_H_
