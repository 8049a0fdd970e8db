#include "services/net/session_io.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "services/protocol/proxy/proxy_header.h"
#include "services/telemetry/log.h"

namespace postern::net {
namespace {

namespace asio = boost::asio;
using telemetry::Log;
using telemetry::LogEnabled;
using telemetry::LogLevel;

// RFC 5321 4.5.3.2 has minutes for a handshake's worth of octets; nobody needs them.
constexpr std::chrono::seconds kHandshakeTimeout(30);

}  // namespace

Deadline SessionIo::NextDeadline(std::chrono::seconds wait) const {
  return std::min(std::chrono::steady_clock::now() + wait, context_.session_deadline);
}

asio::awaitable<SessionIo::Input> SessionIo::Read(Deadline deadline) {
  const absl::Span<char> buffer = ThreadReadBuffer();
  const absl::StatusOr<size_t> got = co_await context_.connection->ReadSome(buffer, deadline);
  Input input;
  if (got.ok() && !std::exchange(has_read_, true) &&
      proxy::HasSignature(absl::string_view(buffer.data(), *got))) {
    // A listener that takes a header has taken it before: this one is somebody's who would be
    // another.
    Log(LogLevel::kWarning, "PROXY header from outside proxy_networks",
        {{"session", context_.session_id}, {"client", context_.connection->peer_address()}});
    context_.connection->Abort();
  } else if (got.ok()) {
    input.kind = Input::Kind::kOctets;
    input.octets = absl::string_view(buffer.data(), *got);
  } else if (absl::IsDeadlineExceeded(got.status())) {
    input.kind = Input::Kind::kTimedOut;
  } else if (absl::IsCancelled(got.status())) {
    // The engine remembers; what is still read is the rest of something.
    context_.connection->ClearInterrupt();
    input.kind = Input::Kind::kDrain;
  }
  co_return input;
}

asio::awaitable<bool> SessionIo::Send(std::string octets) {
  const absl::Status sent =
      co_await context_.connection->Write(octets, NextDeadline(context_.idle_timeout));
  co_return sent.ok();
}

asio::awaitable<bool> SessionIo::StartTls() {
  const absl::Status status =
      co_await context_.connection->StartTls(context_.tls, NextDeadline(kHandshakeTimeout));
  if (!status.ok() && LogEnabled(LogLevel::kDebug)) {
    Log(LogLevel::kDebug, "TLS handshake failed",
        {{"session", context_.session_id}, {"status", std::string(status.message())}});
  }
  co_return status.ok();
}

}  // namespace postern::net
