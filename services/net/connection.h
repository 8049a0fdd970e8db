// One TCP connection of a gateway, plain or TLS: OpenSSL on the descriptor itself, Asio only waits
// for readiness.
#ifndef POSTERN_SERVICES_NET_CONNECTION_H_
#define POSTERN_SERVICES_NET_CONNECTION_H_

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "boost/asio/awaitable.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/steady_timer.hpp"

typedef struct ssl_st SSL;

namespace postern::net {

class TlsProfile;

using Deadline = std::chrono::steady_clock::time_point;

// Lives on one io_context's thread. An idle one holds no buffer: WaitReadable first, then Read into
// a buffer borrowed from the thread. Errors: DEADLINE_EXCEEDED; CANCELLED after Interrupt;
// UNAVAILABLE when the peer or the network broke it; OUT_OF_RANGE at a clean end of the stream.
class Connection {
 public:
  explicit Connection(boost::asio::ip::tcp::socket socket);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Returns when Read would have something (or an error) to give.
  boost::asio::awaitable<absl::Status> WaitReadable(Deadline deadline);
  // At least one octet. Never waits when WaitReadable just returned OK, except for the rest of a
  // TLS record.
  boost::asio::awaitable<absl::StatusOr<size_t>> Read(absl::Span<char> buffer, Deadline deadline);
  // All of it.
  boost::asio::awaitable<absl::Status> Write(absl::string_view octets, Deadline deadline);
  // Server's handshake.
  boost::asio::awaitable<absl::Status> StartTls(std::shared_ptr<const TlsProfile> profile,
                                                Deadline deadline);
  // Sends close_notify when it can without waiting, then closes. The rest of the output is flushed
  // by the kernel; input that was not read does not reset the connection.
  void Close();

  // Makes the pending and every later WaitReadable return CANCELLED until ClearInterrupt (drain).
  // Same thread.
  void Interrupt();
  void ClearInterrupt();

  bool secure() const;
  // "TLSv1.3 TLS_AES_256_GCM_SHA384"; empty without TLS.
  std::string tls_description() const;
  // Without a port; IPv4-mapped IPv6 as IPv4.
  std::string peer_address() const;

 private:
  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer timer_;
  SSL* ssl_ = nullptr;
  bool interrupted_ = false;
};

}  // namespace postern::net

#endif  // POSTERN_SERVICES_NET_CONNECTION_H_
