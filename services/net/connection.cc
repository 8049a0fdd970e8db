#include "services/net/connection.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "boost/asio/as_tuple.hpp"
#include "boost/asio/co_spawn.hpp"
#include "boost/asio/deferred.hpp"
#include "boost/asio/detached.hpp"
#include "boost/asio/error.hpp"
#include "boost/asio/post.hpp"
#include "boost/asio/steady_timer.hpp"
#include "openssl/err.h"
#include "openssl/ssl.h"
#include "openssl/x509v3.h"
#include "services/net/tls_profile.h"

namespace postern::net {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr size_t kThreadReadBufferOctets = 64 << 10;
// A TLS record's payload (RFC 8446 5.1): SSL_read gives at most one.
constexpr size_t kTlsRecordOctets = 16 << 10;
constexpr std::chrono::seconds kLinger(2);
constexpr size_t kMaxLingerOctets = 1 << 20;
// Connections of one thread that linger at once; more are closed at once.
constexpr int kMaxLingering = 256;

// A peer that sends faster than we read must not keep the thread from its other connections.
constexpr int kMaxReadsInARow = 16;

constexpr Deadline kNever = Deadline::max();

thread_local int lingering_count = 0;

absl::Status WouldBlock() { return absl::UnknownError("would block"); }
bool IsWouldBlock(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnknown;
}

absl::Status FromErrno(absl::string_view what, int error) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(error)));
}

// The peer may still be sending: closing now would reset the connection, and the reset may overtake
// our last words. Takes its state as parameters: it outlives its Connection.
asio::awaitable<void> Linger(tcp::socket open_socket) {
  // The timer's handler may run after this coroutine has ended.
  const auto shared = std::make_shared<tcp::socket>(std::move(open_socket));
  tcp::socket& socket = *shared;
  asio::steady_timer timer(socket.get_executor(), kLinger);
  timer.async_wait([shared](boost::system::error_code error) {
    if (!error) shared->close(error);
  });
  size_t octets = 0;
  while (octets < kMaxLingerOctets) {
    const ssize_t got = ::recv(socket.native_handle(), ThreadReadBuffer().data(),
                               ThreadReadBuffer().size(), MSG_DONTWAIT);
    if (got > 0) {
      octets += got;
      continue;
    }
    if (got == 0 || (errno != EAGAIN && errno != EINTR)) break;
    auto [error] =
        co_await socket.async_wait(tcp::socket::wait_read, asio::as_tuple(asio::deferred));
    if (error || !socket.is_open()) break;
  }
}

}  // namespace

absl::Span<char> ThreadReadBuffer() {
  thread_local const std::unique_ptr<char[]> buffer(new char[kThreadReadBufferOctets]);
  return absl::MakeSpan(buffer.get(), kThreadReadBufferOctets);
}

// The one timer of a connection. It is moved only when it would come too late; when it comes too
// early, it goes on until the deadline of then: most operations never touch it. Its handler may run
// after the connection is gone, hence the shared state.
class Connection::Watchdog : public std::enable_shared_from_this<Watchdog> {
 public:
  Watchdog(Connection* owner, const tcp::socket::executor_type& executor)
      : owner_(owner), timer_(executor) {}

  void Watch(Deadline deadline) {
    deadline_ = deadline;
    if (deadline < fires_at_) Arm(deadline);
  }
  void Rest() { deadline_ = kNever; }
  void Forget() {
    owner_ = nullptr;
    timer_.cancel();
  }

 private:
  void Arm(Deadline when) {
    fires_at_ = when;
    const uint64_t generation = ++generation_;
    timer_.expires_at(when);
    timer_.async_wait([self = shared_from_this(), generation](boost::system::error_code) {
      self->Fired(generation);
    });
  }
  void Fired(uint64_t generation) {
    // Of a timer that was moved since.
    if (owner_ == nullptr || generation != generation_) return;
    fires_at_ = kNever;
    if (deadline_ == kNever) return;
    if (deadline_ > std::chrono::steady_clock::now()) {
      Arm(deadline_);
      return;
    }
    owner_->timed_out_ = true;
    boost::system::error_code ignored;
    owner_->socket_.cancel(ignored);
  }

  Connection* owner_;
  asio::steady_timer timer_;
  Deadline deadline_ = kNever;
  Deadline fires_at_ = kNever;
  uint64_t generation_ = 0;
};

Connection::Connection(tcp::socket socket, const asio::ip::address& peer)
    : socket_(std::move(socket)),
      peer_(peer),
      watchdog_(std::make_shared<Watchdog>(this, socket_.get_executor())) {}

Connection::Connection(tcp::socket socket)
    : socket_(std::move(socket)),
      watchdog_(std::make_shared<Watchdog>(this, socket_.get_executor())) {
  boost::system::error_code error;
  const tcp::endpoint peer = socket_.remote_endpoint(error);
  if (!error) peer_ = peer.address();
}

Connection::Connection(const asio::any_io_executor& executor)
    : Connection(tcp::socket(executor), asio::ip::address()) {}

Connection::~Connection() {
  watchdog_->Forget();
  SSL_free(ssl_);
}

absl::Status Connection::Usable(bool interruptible, Deadline deadline) const {
  if (state_ == State::kAborted) return absl::UnavailableError("cut off");
  if (state_ == State::kClosed) return absl::UnavailableError("closed");
  if (interruptible && interrupted_) return absl::CancelledError("interrupted");
  if (deadline != kNever && deadline <= std::chrono::steady_clock::now()) {
    return absl::DeadlineExceededError("the peer took too long");
  }
  return absl::OkStatus();
}

asio::awaitable<absl::Status> Connection::WaitReady(Want want, Deadline deadline,
                                                    bool interruptible) {
  absl::Status usable = Usable(interruptible, deadline);
  if (!usable.ok()) co_return usable;
  timed_out_ = false;
  interruptible_wait_ = interruptible;
  watchdog_->Watch(deadline);
  auto [error] = co_await socket_.async_wait(
      want == Want::kRead ? tcp::socket::wait_read : tcp::socket::wait_write,
      asio::as_tuple(asio::deferred));
  interruptible_wait_ = false;
  watchdog_->Rest();
  if (!error) co_return Usable(interruptible, kNever);
  if (error == asio::error::operation_aborted) {
    if (timed_out_) co_return absl::DeadlineExceededError("the peer took too long");
    usable = Usable(interruptible, kNever);
    if (!usable.ok()) co_return usable;
  }
  co_return absl::UnavailableError(error.message());
}

absl::Status Connection::TlsFailure(int result, Want* want) {
  const int saved_errno = errno;
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
      *want = Want::kRead;
      return WouldBlock();
    case SSL_ERROR_WANT_WRITE:
      *want = Want::kWrite;
      return WouldBlock();
    case SSL_ERROR_ZERO_RETURN:
      return absl::OutOfRangeError("the peer closed the connection");
    case SSL_ERROR_SYSCALL:
      ERR_clear_error();
      if (saved_errno == 0) return absl::UnavailableError("connection closed without close_notify");
      return FromErrno("connection", saved_errno);
    default: {
      const char* reason = ERR_reason_error_string(ERR_peek_error());
      const long verified = SSL_get_verify_result(ssl_);
      if (verified != X509_V_OK && SSL_get_verify_mode(ssl_) != SSL_VERIFY_NONE) {
        reason = X509_verify_cert_error_string(verified);
      }
      absl::Status status = absl::UnavailableError(
          absl::StrCat("TLS: ", reason != nullptr ? reason : "protocol error"));
      ERR_clear_error();
      return status;
    }
  }
}

absl::StatusOr<size_t> Connection::TryRead(absl::Span<char> buffer, bool peek, Want* want) {
  *want = Want::kRead;
  more_likely_ = false;
  if (ssl_ != nullptr) {
    const int size = static_cast<int>(std::min<size_t>(buffer.size(), INT_MAX));
    ERR_clear_error();
    errno = 0;
    const int got =
        peek ? SSL_peek(ssl_, buffer.data(), size) : SSL_read(ssl_, buffer.data(), size);
    if (got <= 0) return TlsFailure(got, want);
    more_likely_ = peek || static_cast<size_t>(got) >= kTlsRecordOctets || SSL_has_pending(ssl_);
    return got;
  }
  while (true) {
    const ssize_t got = ::recv(socket_.native_handle(), buffer.data(), buffer.size(),
                               MSG_DONTWAIT | (peek ? MSG_PEEK : 0));
    if (got > 0) {
      more_likely_ = peek || static_cast<size_t>(got) == buffer.size();
      return got;
    }
    if (got == 0) return absl::OutOfRangeError("the peer closed the connection");
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return WouldBlock();
    return FromErrno("read", errno);
  }
}

absl::StatusOr<size_t> Connection::TryWrite(absl::string_view octets, Want* want) {
  *want = Want::kWrite;
  if (ssl_ != nullptr) {
    ERR_clear_error();
    errno = 0;
    const int sent =
        SSL_write(ssl_, octets.data(), static_cast<int>(std::min<size_t>(octets.size(), INT_MAX)));
    if (sent <= 0) return TlsFailure(sent, want);
    return sent;
  }
  while (true) {
    const ssize_t sent =
        ::send(socket_.native_handle(), octets.data(), octets.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return WouldBlock();
    return FromErrno("write", errno);
  }
}

asio::awaitable<absl::Status> Connection::WaitReadable(Deadline deadline) {
  absl::Status status = Usable(true, deadline);
  if (!status.ok()) co_return status;
  Want want = Want::kRead;
  bool try_first = more_likely_ || (ssl_ != nullptr && SSL_has_pending(ssl_));
  while (true) {
    if (!try_first) {
      status = co_await WaitReady(want, deadline, true);
      if (!status.ok()) co_return status;
      // What the kernel says is enough on a plain connection; a TLS record may be incomplete, or no
      // data at all.
      if (ssl_ == nullptr) co_return absl::OkStatus();
    }
    try_first = false;
    char octet;
    const absl::StatusOr<size_t> got = TryRead(absl::MakeSpan(&octet, 1), true, &want);
    // An error is for Read to give.
    if (got.ok() || !IsWouldBlock(got.status())) co_return absl::OkStatus();
  }
}

asio::awaitable<absl::StatusOr<size_t>> Connection::Read(absl::Span<char> buffer,
                                                         Deadline deadline) {
  Want want = Want::kRead;
  while (true) {
    absl::Status status = Usable(false, kNever);
    if (!status.ok()) co_return status;
    absl::StatusOr<size_t> got = TryRead(buffer, false, &want);
    if (got.ok() || !IsWouldBlock(got.status())) co_return got;
    status = co_await WaitReady(want, deadline, false);
    if (!status.ok()) co_return status;
  }
}

asio::awaitable<absl::StatusOr<size_t>> Connection::ReadSome(absl::Span<char> buffer,
                                                             Deadline deadline) {
  absl::Status status = Usable(true, deadline);
  if (!status.ok()) co_return status;
  Want want = Want::kRead;
  // A peer that was just answered needs time: a read before the wait would be a system call for
  // nothing.
  bool try_first = more_likely_ || (ssl_ != nullptr && SSL_has_pending(ssl_));
  if (try_first && ++reads_in_a_row_ >= kMaxReadsInARow) {
    reads_in_a_row_ = 0;
    // What OpenSSL holds already would not make the descriptor readable: no wait, only a turn.
    co_await asio::post(socket_.get_executor(), asio::deferred);
    status = Usable(true, deadline);
    if (!status.ok()) co_return status;
  }
  while (true) {
    if (!try_first) {
      reads_in_a_row_ = 0;
      status = co_await WaitReady(want, deadline, true);
      if (!status.ok()) co_return status;
    }
    try_first = false;
    absl::StatusOr<size_t> got = TryRead(buffer, false, &want);
    if (got.ok() || !IsWouldBlock(got.status())) co_return got;
  }
}

asio::awaitable<absl::Status> Connection::Write(absl::string_view octets, Deadline deadline) {
  Want want = Want::kWrite;
  while (!octets.empty()) {
    absl::Status status = Usable(false, kNever);
    if (!status.ok()) co_return status;
    absl::StatusOr<size_t> sent = TryWrite(octets, &want);
    if (sent.ok()) {
      octets.remove_prefix(*sent);
      continue;
    }
    if (!IsWouldBlock(sent.status())) co_return sent.status();
    status = co_await WaitReady(want, deadline, false);
    if (!status.ok()) co_return status;
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> Connection::Connect(const tcp::endpoint& peer, Deadline deadline) {
  boost::system::error_code error;
  socket_.open(peer.protocol(), error);
  if (error) co_return absl::UnavailableError(error.message());
  socket_.set_option(tcp::no_delay(true), error);
  timed_out_ = false;
  watchdog_->Watch(deadline);
  std::tie(error) = co_await socket_.async_connect(peer, asio::as_tuple(asio::deferred));
  watchdog_->Rest();
  if (timed_out_) co_return absl::DeadlineExceededError("the peer took too long");
  if (error) co_return absl::UnavailableError(error.message());
  peer_ = peer.address();
  co_return Usable(false, kNever);
}

asio::awaitable<absl::Status> Connection::StartTls(std::shared_ptr<const TlsProfile> profile,
                                                   Deadline deadline) {
  if (ssl_ != nullptr || profile == nullptr) {
    co_return absl::FailedPreconditionError("TLS is on, or there is no profile");
  }
  ssl_ = SSL_new(profile->context().get());
  if (ssl_ != nullptr) SSL_set_accept_state(ssl_);
  co_return co_await Handshake(deadline);
}

asio::awaitable<absl::Status> Connection::StartTlsAsClient(SSL_CTX* context,
                                                           const std::string& server_name,
                                                           Deadline deadline) {
  if (ssl_ != nullptr) co_return absl::FailedPreconditionError("TLS is on");
  ssl_ = SSL_new(context);
  if (ssl_ != nullptr) {
    SSL_set_connect_state(ssl_);
    boost::system::error_code no_address;
    asio::ip::make_address(server_name, no_address);
    if (no_address) {
      SSL_set_tlsext_host_name(ssl_, server_name.c_str());
      SSL_set1_host(ssl_, server_name.c_str());
    } else {
      // An address is no server name (RFC 6066 3).
      X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_), server_name.c_str());
    }
  }
  co_return co_await Handshake(deadline);
}

asio::awaitable<absl::Status> Connection::Handshake(Deadline deadline) {
  absl::Status status = Usable(true, deadline);
  if (!status.ok()) co_return status;
  if (ssl_ == nullptr || SSL_set_fd(ssl_, socket_.native_handle()) != 1) {
    ERR_clear_error();
    co_return absl::UnavailableError("no memory for TLS");
  }
  // OpenSSL reads and writes the descriptor itself: it must never block.
  boost::system::error_code error;
  socket_.native_non_blocking(true, error);
  if (error) co_return absl::UnavailableError(error.message());
  // More than a record header at a time: one read a record instead of two.
  SSL_set_read_ahead(ssl_, 1);
  more_likely_ = false;
  Want want = Want::kRead;
  while (true) {
    ERR_clear_error();
    errno = 0;
    const int result = SSL_do_handshake(ssl_);
    if (result == 1) co_return absl::OkStatus();
    status = TlsFailure(result, &want);
    if (!IsWouldBlock(status)) {
      // No close_notify after a failed handshake (Close).
      SSL_set_quiet_shutdown(ssl_, 1);
      co_return status;
    }
    status = co_await WaitReady(want, deadline, true);
    if (!status.ok()) co_return status;
  }
}

void Connection::Close() {
  if (state_ != State::kOpen) return;
  state_ = State::kClosed;
  watchdog_->Forget();
  const int descriptor = socket_.native_handle();
  if (ssl_ != nullptr) {
    ERR_clear_error();
    if (SSL_is_init_finished(ssl_)) SSL_shutdown(ssl_);
    ERR_clear_error();
    SSL_free(ssl_);
    ssl_ = nullptr;
  }
  boost::system::error_code ignored;
  char octet;
  const ssize_t got = ::recv(descriptor, &octet, 1, MSG_DONTWAIT | MSG_PEEK);
  if (got > 0 && lingering_count < kMaxLingering) {
    ::shutdown(descriptor, SHUT_WR);
    ++lingering_count;
    const auto executor = socket_.get_executor();
    asio::co_spawn(executor, Linger(std::move(socket_)),
                   [](const std::exception_ptr&) { --lingering_count; });
    return;
  }
  socket_.close(ignored);
}

void Connection::Interrupt() {
  interrupted_ = true;
  if (!interruptible_wait_) return;
  boost::system::error_code ignored;
  socket_.cancel(ignored);
}

void Connection::ClearInterrupt() { interrupted_ = false; }

void Connection::Abort() {
  if (state_ != State::kOpen) return;
  state_ = State::kAborted;
  boost::system::error_code ignored;
  socket_.cancel(ignored);
  socket_.shutdown(tcp::socket::shutdown_both, ignored);
}

bool Connection::secure() const { return ssl_ != nullptr && SSL_is_init_finished(ssl_); }

std::string Connection::tls_description() const {
  if (!secure()) return "";
  return absl::StrCat(SSL_get_version(ssl_), " ", SSL_get_cipher_name(ssl_));
}

std::string Connection::server_name() const {
  const char* name = secure() ? SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name) : nullptr;
  return name == nullptr ? "" : name;
}

bool Connection::bindable() const {
  return secure() && (SSL_version(ssl_) == TLS1_3_VERSION || !tls_server_end_point().empty());
}

std::string Connection::tls_exporter() const {
  constexpr absl::string_view kLabel = "EXPORTER-Channel-Binding";
  // In TLS 1.2 it needs an extension, and its users differ in what they compute.
  if (!secure() || SSL_version(ssl_) != TLS1_3_VERSION) return "";
  unsigned char exported[32];
  if (SSL_export_keying_material(ssl_, exported, sizeof exported, kLabel.data(), kLabel.size(),
                                 nullptr, 0, /*use_context=*/0) != 1) {
    ERR_clear_error();
    return "";
  }
  return std::string(reinterpret_cast<const char*>(exported), sizeof exported);
}

std::string Connection::tls_server_end_point() const {
  const X509* certificate = secure() ? SSL_get_certificate(ssl_) : nullptr;
  int digest = NID_undef;
  if (certificate == nullptr || X509_get_signature_info(const_cast<X509*>(certificate), &digest,
                                                        nullptr, nullptr, nullptr) != 1) {
    ERR_clear_error();
    return "";
  }
  // RFC 5929 4.1: the signature's hash function, but no weaker one than SHA-256. Ed25519 has none.
  if (digest == NID_md5 || digest == NID_sha1) digest = NID_sha256;
  const EVP_MD* hash = EVP_get_digestbynid(digest);
  unsigned char hashed[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (hash == nullptr || X509_digest(certificate, hash, hashed, &size) != 1) {
    ERR_clear_error();
    return "";
  }
  return std::string(reinterpret_cast<const char*>(hashed), size);
}

std::vector<std::string> Connection::client_certificates() const {
  constexpr int kMaxCertificates = 8;
  constexpr size_t kMaxOctets = 32 << 10;
  // As a server it is without the client's own.
  X509* const own = secure() ? SSL_get0_peer_certificate(ssl_) : nullptr;
  if (own == nullptr) return {};
  std::vector<X509*> shown = {own};
  STACK_OF(X509)* const chain = SSL_get_peer_cert_chain(ssl_);
  for (int i = 0; i < sk_X509_num(chain); ++i) shown.push_back(sk_X509_value(chain, i));
  std::vector<std::string> certificates;
  size_t octets = 0;
  for (X509* certificate : shown) {
    unsigned char* der = nullptr;
    const int size = i2d_X509(certificate, &der);
    if (size < 0) break;
    certificates.emplace_back(reinterpret_cast<const char*>(der), static_cast<size_t>(size));
    OPENSSL_free(der);
    octets += certificates.back().size();
    if (certificates.size() > kMaxCertificates || octets > kMaxOctets) return {};
  }
  ERR_clear_error();
  return certificates;
}

std::string Connection::peer_address() const {
  if (peer_.is_v6() && peer_.to_v6().is_v4_mapped()) {
    return asio::ip::make_address_v4(asio::ip::v4_mapped, peer_.to_v6()).to_string();
  }
  return peer_.to_string();
}

}  // namespace postern::net
