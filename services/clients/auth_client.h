// auth-svc as its callers see it.
#ifndef POSTERN_SERVICES_CLIENTS_AUTH_CLIENT_H_
#define POSTERN_SERVICES_CLIENTS_AUTH_CLIENT_H_

#include <memory>

#include "proto/postern/auth/v1/authentication.pb.h"
#include "proto/postern/auth/v1/directory.pb.h"
#include "services/async/done.h"
#include "services/rpc/call_context.h"

namespace grpc {
class Channel;
}  // namespace grpc

namespace postern::clients {

// One SASL exchange. One step at a time; destroying it cancels.
class SaslExchange {
 public:
  virtual ~SaslExchange() = default;
  // The first step's request has `start`. Success and failure end the exchange.
  virtual void Step(auth::v1::AuthenticateRequest request,
                    async::Done<auth::v1::AuthenticateResponse> done) = 0;
};

// Thread-safe.
class AuthenticationClient {
 public:
  virtual ~AuthenticationClient() = default;
  virtual std::unique_ptr<SaslExchange> Authenticate(const rpc::CallContext& call) = 0;
  // Repeated on UNAVAILABLE while its deadline allows.
  virtual void ListMechanisms(const rpc::CallContext& call, auth::v1::ListMechanismsRequest request,
                              async::Done<auth::v1::ListMechanismsResponse> done) = 0;
};

// Thread-safe. Repeats a call on UNAVAILABLE while its deadline allows.
class DirectoryClient {
 public:
  virtual ~DirectoryClient() = default;
  virtual void ResolveRecipient(const rpc::CallContext& call,
                                auth::v1::ResolveRecipientRequest request,
                                async::Done<auth::v1::ResolveRecipientResponse> done) = 0;
  virtual void MaySendAs(const rpc::CallContext& call, auth::v1::MaySendAsRequest request,
                         async::Done<auth::v1::MaySendAsResponse> done) = 0;
};

std::unique_ptr<AuthenticationClient> MakeAuthenticationClient(
    std::shared_ptr<grpc::Channel> channel);
std::unique_ptr<DirectoryClient> MakeDirectoryClient(std::shared_ptr<grpc::Channel> channel);

}  // namespace postern::clients

#endif  // POSTERN_SERVICES_CLIENTS_AUTH_CLIENT_H_
