// One TCP connection to a mail host, plain or TLS: OpenSSL on the descriptor itself, Asio waits for
// readiness.
#ifndef POSTERN_RELAY_SVC_SMTP_OUTGOING_CONNECTION_H_
#define POSTERN_RELAY_SVC_SMTP_OUTGOING_CONNECTION_H_

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "boost/asio/any_io_executor.hpp"
#include "boost/asio/awaitable.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/steady_timer.hpp"

typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_st SSL;

namespace postern::relay {

using SteadyDeadline = std::chrono::steady_clock::time_point;

// TLS 1.2 or newer, without a look at the certificate: opportunistic TLS (RFC 7435) protects
// against those who listen, and a host that fails verification would otherwise get its mail in
// clear.
std::shared_ptr<SSL_CTX> MakeOpportunisticTlsContext();

// One operation at a time, on one loop's thread. Errors: DEADLINE_EXCEEDED, UNAVAILABLE (broken or
// closed by the peer). OpenSSL writes without MSG_NOSIGNAL: the process ignores SIGPIPE
// (process::ServiceMain).
class OutgoingConnection {
 public:
  explicit OutgoingConnection(const boost::asio::any_io_executor& executor);
  ~OutgoingConnection();
  OutgoingConnection(const OutgoingConnection&) = delete;
  OutgoingConnection& operator=(const OutgoingConnection&) = delete;

  boost::asio::awaitable<absl::Status> Connect(const boost::asio::ip::tcp::endpoint& peer,
                                               SteadyDeadline deadline);
  // At least one octet.
  boost::asio::awaitable<absl::StatusOr<size_t>> Read(absl::Span<char> buffer,
                                                      SteadyDeadline deadline);
  // All of it.
  boost::asio::awaitable<absl::Status> Write(absl::string_view octets, SteadyDeadline deadline);
  // The client's handshake; `server_name` goes out as SNI.
  boost::asio::awaitable<absl::Status> StartTls(SSL_CTX* context, const std::string& server_name,
                                                SteadyDeadline deadline);
  // "TLSv1.3 TLS_AES_256_GCM_SHA384"; empty without TLS.
  std::string tls_description() const;

 private:
  enum class Direction { kRead, kWrite };
  boost::asio::awaitable<absl::Status> Wait(Direction direction, SteadyDeadline deadline);
  // What to wait for after an SSL_* call failed; an error when there is nothing to wait for.
  absl::StatusOr<Direction> WantedAfter(int result);

  struct Expiry;

  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer timer_;
  // Shared with the timer's handler, which may run after this object is gone.
  std::shared_ptr<Expiry> expiry_;
  SSL* ssl_ = nullptr;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_SMTP_OUTGOING_CONNECTION_H_
