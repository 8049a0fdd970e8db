#include "relay-svc/smtp/outgoing_connection.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "boost/asio/redirect_error.hpp"
#include "boost/asio/use_awaitable.hpp"

namespace postern::relay {
namespace {

using boost::asio::awaitable;
using boost::asio::redirect_error;
using boost::asio::use_awaitable;
using boost::asio::ip::tcp;
using boost::system::error_code;

}  // namespace

std::shared_ptr<SSL_CTX> MakeOpportunisticTlsContext() {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  if (context == nullptr) return nullptr;
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  return context;
}

// The deadline of the operation under way.
struct OutgoingConnection::Expiry {
  tcp::socket* socket;
  // Of the operation; a timer's handler that comes too late has another one.
  uint64_t operation = 0;
  bool expired = false;
};

OutgoingConnection::OutgoingConnection(const boost::asio::any_io_executor& executor)
    : socket_(executor), timer_(executor), expiry_(std::make_shared<Expiry>(Expiry{&socket_})) {}

OutgoingConnection::~OutgoingConnection() {
  ++expiry_->operation;
  if (ssl_ != nullptr) {
    if (SSL_is_init_finished(ssl_)) SSL_shutdown(ssl_);
    SSL_free(ssl_);
    ERR_clear_error();
  }
}

namespace {

// Cancels the socket's operation at the deadline.
template <typename Expiry>
void Arm(boost::asio::steady_timer& timer, const std::shared_ptr<Expiry>& expiry,
         SteadyDeadline deadline) {
  expiry->expired = false;
  const uint64_t operation = ++expiry->operation;
  timer.expires_at(deadline);
  timer.async_wait([expiry, operation](const error_code& error) {
    if (error || expiry->operation != operation) return;
    expiry->expired = true;
    error_code ignored;
    expiry->socket->cancel(ignored);
  });
}

template <typename Expiry>
absl::Status Disarm(boost::asio::steady_timer& timer, Expiry& expiry, const error_code& error) {
  ++expiry.operation;
  timer.cancel();
  if (expiry.expired) return absl::DeadlineExceededError("timed out");
  if (error) return absl::UnavailableError(error.message());
  return absl::OkStatus();
}

}  // namespace

awaitable<absl::Status> OutgoingConnection::Connect(const tcp::endpoint& peer,
                                                    SteadyDeadline deadline) {
  error_code error;
  socket_.open(peer.protocol(), error);
  if (error) co_return absl::UnavailableError(error.message());
  socket_.non_blocking(true, error);
  socket_.set_option(tcp::no_delay(true), error);
  error.clear();
  Arm(timer_, expiry_, deadline);
  co_await socket_.async_connect(peer, redirect_error(use_awaitable, error));
  co_return Disarm(timer_, *expiry_, error);
}

awaitable<absl::Status> OutgoingConnection::Wait(Direction direction, SteadyDeadline deadline) {
  if (std::chrono::steady_clock::now() >= deadline) {
    co_return absl::DeadlineExceededError("timed out");
  }
  error_code error;
  Arm(timer_, expiry_, deadline);
  co_await socket_.async_wait(
      direction == Direction::kRead ? tcp::socket::wait_read : tcp::socket::wait_write,
      redirect_error(use_awaitable, error));
  co_return Disarm(timer_, *expiry_, error);
}

absl::StatusOr<OutgoingConnection::Direction> OutgoingConnection::WantedAfter(int result) {
  const int error = SSL_get_error(ssl_, result);
  if (error == SSL_ERROR_WANT_READ) return Direction::kRead;
  if (error == SSL_ERROR_WANT_WRITE) return Direction::kWrite;
  if (error == SSL_ERROR_ZERO_RETURN) {
    return absl::UnavailableError("the peer closed the connection");
  }
  const unsigned long code = ERR_peek_error();
  const char* reason = code != 0 ? ERR_reason_error_string(code) : nullptr;
  ERR_clear_error();
  return absl::UnavailableError(
      absl::StrCat("TLS: ", reason != nullptr ? reason : "the peer closed the connection"));
}

awaitable<absl::StatusOr<size_t>> OutgoingConnection::Read(absl::Span<char> buffer,
                                                           SteadyDeadline deadline) {
  while (true) {
    Direction wanted = Direction::kRead;
    if (ssl_ != nullptr) {
      ERR_clear_error();
      const int n = SSL_read(ssl_, buffer.data(), static_cast<int>(buffer.size()));
      if (n > 0) co_return static_cast<size_t>(n);
      absl::StatusOr<Direction> direction = WantedAfter(n);
      if (!direction.ok()) co_return direction.status();
      wanted = *direction;
    } else {
      error_code error;
      const size_t n = socket_.read_some(boost::asio::buffer(buffer.data(), buffer.size()), error);
      if (n > 0) co_return n;
      if (error == boost::asio::error::eof) {
        co_return absl::UnavailableError("the peer closed the connection");
      }
      if (error != boost::asio::error::would_block && error != boost::asio::error::try_again) {
        co_return absl::UnavailableError(error.message());
      }
    }
    absl::Status ready = co_await Wait(wanted, deadline);
    if (!ready.ok()) co_return ready;
  }
}

awaitable<absl::Status> OutgoingConnection::Write(absl::string_view octets,
                                                  SteadyDeadline deadline) {
  while (!octets.empty()) {
    Direction wanted = Direction::kWrite;
    if (ssl_ != nullptr) {
      ERR_clear_error();
      const int n = SSL_write(ssl_, octets.data(), static_cast<int>(octets.size()));
      if (n > 0) {
        octets.remove_prefix(static_cast<size_t>(n));
        continue;
      }
      absl::StatusOr<Direction> direction = WantedAfter(n);
      if (!direction.ok()) co_return direction.status();
      wanted = *direction;
    } else {
      error_code error;
      const size_t n = socket_.write_some(boost::asio::buffer(octets.data(), octets.size()), error);
      octets.remove_prefix(n);
      if (n > 0) continue;
      if (error != boost::asio::error::would_block && error != boost::asio::error::try_again) {
        co_return absl::UnavailableError(error.message());
      }
    }
    absl::Status ready = co_await Wait(wanted, deadline);
    if (!ready.ok()) co_return ready;
  }
  co_return absl::OkStatus();
}

awaitable<absl::Status> OutgoingConnection::StartTls(SSL_CTX* context,
                                                     const std::string& server_name,
                                                     SteadyDeadline deadline) {
  ssl_ = SSL_new(context);
  if (ssl_ == nullptr) co_return absl::InternalError("TLS: no memory");
  SSL_set_fd(ssl_, static_cast<int>(socket_.native_handle()));
  // An address is no server name (RFC 6066 3).
  error_code no_address;
  boost::asio::ip::make_address(server_name, no_address);
  if (no_address) SSL_set_tlsext_host_name(ssl_, server_name.c_str());
  while (true) {
    ERR_clear_error();
    const int n = SSL_connect(ssl_);
    if (n == 1) co_return absl::OkStatus();
    absl::StatusOr<Direction> direction = WantedAfter(n);
    if (!direction.ok()) co_return direction.status();
    absl::Status ready = co_await Wait(*direction, deadline);
    if (!ready.ok()) co_return ready;
  }
}

std::string OutgoingConnection::tls_description() const {
  if (ssl_ == nullptr) return "";
  return absl::StrCat(SSL_get_version(ssl_), " ", SSL_get_cipher_name(ssl_));
}

}  // namespace postern::relay
