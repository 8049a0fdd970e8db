#include "services/net/sasl_login.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/async/await.h"
#include "services/crypto/random_octets.h"

namespace postern::net {
namespace {

namespace asio = boost::asio;
using auth::v1::AuthenticateRequest;
using std::chrono::steady_clock;

constexpr size_t kNonceOctets = 16;
// SCRAM, the longest, has four.
constexpr int kMaxSteps = 4;

}  // namespace

asio::awaitable<absl::StatusOr<SaslLogin::Response>> SaslLogin::Start(
    rpc::TraceContext trace, std::string mechanism, std::optional<std::string> initial_response) {
  if (nonce_.empty()) nonce_ = crypto::RandomOctets(kNonceOctets);
  // Its life holds the client's thinking; each step has its own deadline.
  exchange_ = options_.authentication->Authenticate(
      {std::move(trace),
       absl::Now() + kMaxSteps * absl::FromChrono(options_.step_timeout + options_.idle_timeout)});
  AuthenticateRequest request;
  AuthenticateRequest::Start& start = *request.mutable_start();
  if (absl::StartsWith(mechanism, "SCRAM-")) {
    start.set_tls_exporter(options_.connection->tls_exporter());
    start.set_tls_server_end_point(options_.connection->tls_server_end_point());
  }
  if (mechanism == "EXTERNAL") {
    for (std::string& one : options_.connection->client_certificates()) {
      start.add_client_certificates(std::move(one));
    }
  }
  start.set_mechanism(std::move(mechanism));
  if (initial_response.has_value()) start.set_initial_response(*std::move(initial_response));
  start.set_purpose(options_.purpose);
  start.set_session_nonce(nonce_);
  start.set_client_address(options_.client_address);
  co_return co_await Step(std::move(request));
}

asio::awaitable<absl::StatusOr<SaslLogin::Response>> SaslLogin::Respond(std::string response) {
  AuthenticateRequest request;
  request.set_response(std::move(response));
  co_return co_await Step(std::move(request));
}

asio::awaitable<absl::StatusOr<SaslLogin::Response>> SaslLogin::Step(AuthenticateRequest request) {
  const auto step = [&](async::Done<Response> done) {
    exchange_->Step(std::move(request), std::move(done));
  };
  const auto give_up = [this] { exchange_.reset(); };
  absl::StatusOr<Response> response = co_await async::AwaitUntil<absl::StatusOr<Response>>(
      steady_clock::now() + options_.step_timeout, step, give_up);
  if (!response.ok() || !response->has_challenge()) exchange_.reset();
  co_return response;
}

}  // namespace postern::net
