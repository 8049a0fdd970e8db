// The logins of one session, as both gateways do them: SASL exchanges with auth-svc.
#ifndef POSTERN_SERVICES_NET_SASL_LOGIN_H_
#define POSTERN_SERVICES_NET_SASL_LOGIN_H_

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "boost/asio/awaitable.hpp"
#include "proto/postern/auth/v1/authentication.pb.h"
#include "services/clients/auth_client.h"
#include "services/net/connection.h"
#include "services/rpc/call_context.h"

namespace postern::net {

// Belongs to its session's loop. One exchange at a time, one step at a time.
class SaslLogin {
 public:
  using Response = auth::v1::AuthenticateResponse;

  struct Options {
    // Outlives it; null where nobody logs in.
    clients::AuthenticationClient* authentication = nullptr;
    auth::v1::Purpose purpose = auth::v1::PURPOSE_UNSPECIFIED;
    // Outlives it, as what it is in.
    const Connection* connection = nullptr;
    std::string client_address;
    // For auth-svc to answer a step.
    std::chrono::steady_clock::duration step_timeout;
    // For the client to think between steps.
    std::chrono::steady_clock::duration idle_timeout;
  };
  explicit SaslLogin(Options options) : options_(std::move(options)) {}

  // auth-svc's answer: a challenge, success or failure; or why there is none (no service has judged
  // the credentials). All but a challenge end the exchange.
  boost::asio::awaitable<absl::StatusOr<Response>> Start(
      rpc::TraceContext trace, std::string mechanism, std::optional<std::string> initial_response);
  boost::asio::awaitable<absl::StatusOr<Response>> Respond(std::string response);
  void Cancel() { exchange_.reset(); }

  // What tokens are bound to: 16 random octets, the same for all of the session. Empty before the
  // first login.
  const std::string& session_nonce() const { return nonce_; }

 private:
  boost::asio::awaitable<absl::StatusOr<Response>> Step(auth::v1::AuthenticateRequest request);

  const Options options_;
  std::string nonce_;
  std::unique_ptr<clients::SaslExchange> exchange_;
};

}  // namespace postern::net

#endif  // POSTERN_SERVICES_NET_SASL_LOGIN_H_
