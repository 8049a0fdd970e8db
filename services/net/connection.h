// One TCP connection, a client's of ours or ours to a server, plain or TLS: OpenSSL on the
// descriptor itself, Asio only waits for readiness.
#ifndef POSTERN_SERVICES_NET_CONNECTION_H_
#define POSTERN_SERVICES_NET_CONNECTION_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "boost/asio/any_io_executor.hpp"
#include "boost/asio/awaitable.hpp"
#include "boost/asio/ip/tcp.hpp"

typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_st SSL;

namespace postern::net {

class TlsProfile;

using Deadline = std::chrono::steady_clock::time_point;

// This thread's read buffer (64 KiB), for all its connections: what is in it must be consumed or
// copied before the next suspension.
absl::Span<char> ThreadReadBuffer();

// Lives on one io_context's thread. An idle one holds no buffer: ReadSome (or WaitReadable, then
// Read) into a buffer borrowed from the thread, which is touched only after the last suspension.
// Errors: DEADLINE_EXCEEDED; CANCELLED after Interrupt; UNAVAILABLE when the peer or the network
// broke it; OUT_OF_RANGE at a clean end of the stream. OpenSSL writes without MSG_NOSIGNAL: the
// process ignores SIGPIPE (process::ServiceMain).
class Connection {
 public:
  explicit Connection(boost::asio::ip::tcp::socket socket);
  // To a server: Connect comes first.
  explicit Connection(const boost::asio::any_io_executor& executor);
  // With the peer's address known from accept.
  Connection(boost::asio::ip::tcp::socket socket, const boost::asio::ip::address& peer);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  boost::asio::awaitable<absl::Status> Connect(const boost::asio::ip::tcp::endpoint& peer,
                                               Deadline deadline);

  // Returns when Read would have something (or an error) to give.
  boost::asio::awaitable<absl::Status> WaitReadable(Deadline deadline);
  // At least one octet. Never waits when WaitReadable just returned OK.
  boost::asio::awaitable<absl::StatusOr<size_t>> Read(absl::Span<char> buffer, Deadline deadline);
  // WaitReadable and Read in one, with fewer system calls when more is at hand. CANCELLED as
  // WaitReadable's.
  boost::asio::awaitable<absl::StatusOr<size_t>> ReadSome(absl::Span<char> buffer,
                                                          Deadline deadline);
  // All of it.
  boost::asio::awaitable<absl::Status> Write(absl::string_view octets, Deadline deadline);
  // Server's handshake. CANCELLED as WaitReadable's.
  boost::asio::awaitable<absl::Status> StartTls(std::shared_ptr<const TlsProfile> profile,
                                                Deadline deadline);
  // Client's handshake. `server_name`, a name or an address, is asked for (SNI, RFC 6066 3), and
  // must be the certificate's when `context` verifies (SSL_VERIFY_PEER). `context` has the partial
  // and moving writes of SSL_CTX_set_mode on.
  boost::asio::awaitable<absl::Status> StartTlsAsClient(SSL_CTX* context,
                                                        const std::string& server_name,
                                                        Deadline deadline);
  // Sends close_notify when it can without waiting, then closes. The rest of the output is flushed
  // by the kernel; input that was not read does not reset the connection: it is read and dropped,
  // for at most 2 s and 1 MiB, after this object is gone.
  void Close();

  // Makes the pending and every later WaitReadable, ReadSome and StartTls return CANCELLED until
  // ClearInterrupt (drain). Same thread.
  void Interrupt();
  void ClearInterrupt();
  // Cuts it off: everything pending and later fails with UNAVAILABLE. Same thread.
  void Abort();

  bool secure() const;
  // "TLSv1.3 TLS_AES_256_GCM_SHA384"; empty without TLS.
  std::string tls_description() const;
  // What the client asked for in its handshake (SNI); empty: nothing.
  std::string server_name() const;
  // Channel bindings as a server (RFC 9266, in TLS 1.3 alone; RFC 5929 4). Empty: there is none.
  std::string tls_exporter() const;
  std::string tls_server_end_point() const;
  // Whether there is one, without computing it where that is known.
  bool bindable() const;
  // What the client showed, DER, its own first: its key is proved, and nothing else. At most 8, and
  // 32 KiB in all; empty when there is none, or more.
  std::vector<std::string> client_certificates() const;
  // Who it is from, when somebody else's words say so (a load balancer's).
  void set_peer_address(const boost::asio::ip::address& peer) { peer_ = peer; }
  // Without a port; IPv4-mapped IPv6 as IPv4.
  std::string peer_address() const;

 private:
  class Watchdog;
  enum class Want { kRead, kWrite };
  enum class State { kOpen, kAborted, kClosed };

  // One wait for readiness. An interruptible one ends with CANCELLED at Interrupt.
  boost::asio::awaitable<absl::Status> WaitReady(Want want, Deadline deadline, bool interruptible);
  boost::asio::awaitable<absl::Status> Handshake(Deadline deadline);
  // Without waiting. UNKNOWN (never seen outside) means that `*want` must come first. With `peek`
  // nothing is consumed, and one octet is enough of a buffer.
  absl::StatusOr<size_t> TryRead(absl::Span<char> buffer, bool peek, Want* want);
  absl::StatusOr<size_t> TryWrite(absl::string_view octets, Want* want);
  absl::Status TlsFailure(int result, Want* want);
  absl::Status Usable(bool interruptible, Deadline deadline) const;

  boost::asio::ip::tcp::socket socket_;
  boost::asio::ip::address peer_;
  std::shared_ptr<Watchdog> watchdog_;
  SSL* ssl_ = nullptr;
  State state_ = State::kOpen;
  bool interrupted_ = false;
  // A wait is pending that Interrupt may end.
  bool interruptible_wait_ = false;
  // The watchdog ended the pending wait.
  bool timed_out_ = false;
  // The last read left more behind, as far as we know: try before waiting.
  bool more_likely_ = false;
  // Reads since the last wait.
  int reads_in_a_row_ = 0;
};

}  // namespace postern::net

#endif  // POSTERN_SERVICES_NET_CONNECTION_H_
