// postern.auth.v1.AuthenticationService: SASL exchanges to tokens.
#ifndef POSTERN_AUTH_SVC_RPC_AUTHENTICATION_SERVICE_H_
#define POSTERN_AUTH_SVC_RPC_AUTHENTICATION_SERVICE_H_

#include <atomic>

#include "absl/time/time.h"
#include "auth-svc/certificates/certificate_login.h"
#include "auth-svc/domain/authenticator.h"
#include "auth-svc/domain/directory.h"
#include "auth-svc/domain/mechanisms.h"
#include "auth-svc/domain/scram_login.h"
#include "auth-svc/oauth/bearer_login.h"
#include "auth-svc/rpc/login_failures.h"
#include "proto/postern/auth/v1/authentication.grpc.pb.h"
#include "services/identity/token.h"
#include "services/process/clock.h"
#include "services/process/worker_pool.h"

namespace postern::auth {

// Thread-safe. What it is given must outlive it.
class AuthenticationService final : public v1::AuthenticationService::CallbackService {
 public:
  struct Parts {
    Directory& directory;
    Authenticator& passwords;
    ScramLogin& scram;
    oauth::BearerLogin& tokens;
    certificates::CertificateLogin& certificates;
    const identity::TokenSigner& signer;
    // For ListMechanisms.
    process::WorkerPool& reading;
    ConfiguredMechanisms mechanisms;
    process::Clock clock;
    absl::Duration token_lifetime;
  };
  explicit AuthenticationService(Parts parts);

  grpc::ServerBidiReactor<v1::AuthenticateRequest, v1::AuthenticateResponse>* Authenticate(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* ListMechanisms(grpc::CallbackServerContext* context,
                                           const v1::ListMechanismsRequest* request,
                                           v1::ListMechanismsResponse* response) override;

 private:
  class Exchange;

  const Parts parts_;
  std::atomic<int> exchanges_{0};
  LoginFailures login_failures_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_RPC_AUTHENTICATION_SERVICE_H_
