#include "services/net/offered_mechanisms.h"

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/async/await.h"
#include "services/rpc/call_context.h"

namespace postern::net {
namespace {

namespace asio = boost::asio;
using auth::v1::ListMechanismsRequest;
using auth::v1::ListMechanismsResponse;
using std::chrono::steady_clock;

constexpr steady_clock::duration kKept = std::chrono::seconds(30);
// So that not every connection waits for an auth-svc that is away.
constexpr steady_clock::duration kKeptWithoutAnswer = std::chrono::seconds(1);
constexpr absl::Duration kTimeout = absl::Seconds(5);
// Names are the clients' to choose.
constexpr size_t kMaxKept = 1000;

}  // namespace

OfferedMechanisms::OfferedMechanisms(clients::AuthenticationClient* authentication,
                                     std::string hostname)
    : authentication_(authentication), hostname_(std::move(hostname)), known_(kMaxKept) {}

asio::awaitable<sasl::MechanismList> OfferedMechanisms::For(const Connection& connection) {
  ListMechanismsRequest request;
  std::string name = connection.server_name();
  if (!absl::EqualsIgnoreCase(name, hostname_)) request.set_server_name(std::move(name));
  request.set_bindable(connection.bindable());
  request.set_certified(!connection.client_certificates().empty());
  const std::string key =
      absl::StrCat(request.bindable(), request.certified(), request.server_name());
  if (sasl::MechanismList known = known_.Find(key, steady_clock::now()); known != nullptr)
    co_return known;
  const rpc::CallContext call{rpc::TraceContext::New(), absl::Now() + kTimeout};
  const auto ask = [&](async::Done<ListMechanismsResponse> done) {
    authentication_->ListMechanisms(call, std::move(request), std::move(done));
  };
  const absl::StatusOr<ListMechanismsResponse> response =
      co_await async::Await<absl::StatusOr<ListMechanismsResponse>>(ask);
  sasl::MechanismList list = sasl::PlainAndLogin();
  if (response.ok()) {
    list = std::make_shared<std::vector<std::string>>(response->mechanisms().begin(),
                                                      response->mechanisms().end());
  }
  known_.Keep(key, list, steady_clock::now() + (response.ok() ? kKept : kKeptWithoutAnswer));
  co_return list;
}

}  // namespace postern::net
