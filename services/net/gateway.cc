#include "services/net/gateway.h"

#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <exception>
#include <functional>
#include <optional>
#include <thread>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "boost/asio/as_tuple.hpp"
#include "boost/asio/co_spawn.hpp"
#include "boost/asio/deferred.hpp"
#include "boost/asio/executor_work_guard.hpp"
#include "boost/asio/io_context.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/post.hpp"
#include "boost/asio/steady_timer.hpp"
#include "services/net/client_table.h"
#include "services/net/descriptors.h"
#include "services/net/listening_socket.h"
#include "services/net/network.h"
#include "services/net/proxy_reader.h"
#include "services/telemetry/log.h"
#include "services/telemetry/metrics.h"

namespace postern::net {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using telemetry::Log;
using telemetry::LogLevel;

// No descriptors or memory left: until others have closed.
constexpr std::chrono::milliseconds kAcceptPause(100);
constexpr int kAcceptBatch = 32;
// After the cut: for the sessions to see it.
constexpr absl::Duration kCutTimeout = absl::Seconds(2);

// One listener, shared by the loops.
struct SharedListener {
  SharedListener(GatewayListener what, std::shared_ptr<TlsProfile> profile)
      : listener(std::move(what)),
        tls(std::move(profile)),
        accepted(CountOf("accepted")),
        too_busy(CountOf("too_busy")),
        too_many_from_client(CountOf("too_many_from_client")),
        tls_failed(CountOf("tls_failed")),
        no_descriptors(CountOf("no_descriptors")),
        no_proxy_header(CountOf("no_proxy_header")),
        open(telemetry::GetGauge("postern_connections", "Open connections.",
                                 {{"listener", listener.config.name()}})) {
    // CheckListeners has read them.
    for (const std::string& network : listener.config.proxy_networks()) {
      balancers.push_back(*Network::Parse(network));
    }
  }

  // For who is not served. In a TLS connection they would only be a protocol error.
  absl::string_view RefusalWords() const {
    return listener.config.implicit_tls() ? absl::string_view() : listener.too_busy;
  }

  // What comes from there begins with a PROXY header.
  bool IsBalancer(const asio::ip::address& peer) const {
    return std::any_of(balancers.begin(), balancers.end(),
                       [&](const Network& network) { return network.Contains(peer); });
  }

  telemetry::Counter& CountOf(const char* outcome) {
    return telemetry::GetCounter("postern_connections_total",
                                 "Connections, by what became of them.",
                                 {{"listener", listener.config.name()}, {"outcome", outcome}});
  }

  GatewayListener listener;
  std::shared_ptr<TlsProfile> tls;
  std::vector<Network> balancers;
  int port = 0;
  std::atomic<int> connections{0};
  ClientTable clients;
  telemetry::Counter& accepted;
  telemetry::Counter& too_busy;
  telemetry::Counter& too_many_from_client;
  telemetry::Counter& tls_failed;
  telemetry::Counter& no_descriptors;
  telemetry::Counter& no_proxy_header;
  telemetry::Gauge& open;
};

// One event loop: its thread, its acceptors, its sessions. Everything but `thread`, `empty` and
// posting belongs to that thread.
struct Loop {
  // Sessions begun and not over, and those of them that have a connection.
  int sessions = 0;
  absl::flat_hash_set<Connection*> connections;
  bool draining = false;
  bool empty_notified = false;
  // Draining, and no session is left.
  absl::Notification empty;

  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  struct Acceptor {
    SharedListener* listener;
    std::unique_ptr<tcp::acceptor> acceptor;
  };
  std::vector<Acceptor> acceptors;
  std::thread thread;

  void NoteIfEmpty() {
    if (!draining || sessions > 0 || empty_notified) return;
    empty_notified = true;
    empty.Notify();
  }
};

// A session's place in the limits, from accept to its end.
class Place {
 public:
  Place(Loop* loop, SharedListener* listener, Descriptors* descriptors)
      : loop_(loop), listener_(listener), descriptors_(descriptors) {}
  Place(Place&& other) noexcept
      : loop_(std::exchange(other.loop_, nullptr)),
        listener_(other.listener_),
        descriptors_(other.descriptors_),
        client_(std::exchange(other.client_, std::nullopt)),
        taken_(std::exchange(other.taken_, false)) {}
  Place& operator=(Place&&) = delete;
  ~Place() {
    if (loop_ == nullptr || !taken_) return;
    if (client_.has_value()) listener_->clients.Remove(*client_);
    descriptors_->GiveBack();
    listener_->connections.fetch_sub(1, std::memory_order_relaxed);
    listener_->open.Add(-1);
    --loop_->sessions;
    loop_->NoteIfEmpty();
  }

  // False when the listener has as many as it may.
  bool Take() {
    if (listener_->connections.fetch_add(1, std::memory_order_relaxed) >=
        listener_->listener.config.max_connections()) {
      listener_->connections.fetch_sub(1, std::memory_order_relaxed);
      listener_->too_busy.Add();
      return false;
    }
    if (!descriptors_->Take()) {
      listener_->connections.fetch_sub(1, std::memory_order_relaxed);
      listener_->no_descriptors.Add();
      return false;
    }
    taken_ = true;
    ++loop_->sessions;
    listener_->accepted.Add();
    listener_->open.Add(1);
    return true;
  }

  // False when the client has as many as it may.
  bool TakeFor(const asio::ip::address& client) {
    const config::v1::Listener& config = listener_->listener.config;
    const int of_one_client = config.has_max_connections_per_client()
                                  ? config.max_connections_per_client()
                                  : listener_->listener.default_connections_per_client;
    if (of_one_client == 0) return true;
    const ClientTable::Key key = ClientTable::KeyOf(client);
    if (!listener_->clients.Add(key, of_one_client)) {
      listener_->too_many_from_client.Add();
      return false;
    }
    client_ = key;
    return true;
  }

 private:
  Loop* loop_;
  SharedListener* listener_;
  Descriptors* descriptors_;
  std::optional<ClientTable::Key> client_;
  bool taken_ = false;
};

// The loop's list of connections, for drain.
class Listed {
 public:
  Listed(Loop* loop, Connection* connection) : loop_(loop), connection_(connection) {
    loop_->connections.insert(connection_);
  }
  ~Listed() { loop_->connections.erase(connection_); }
  Listed(const Listed&) = delete;
  Listed& operator=(const Listed&) = delete;

 private:
  Loop* loop_;
  Connection* connection_;
};

std::string NewSessionId() {
  thread_local absl::BitGen random;
  return absl::StrFormat("%016x", absl::Uniform<uint64_t>(random));
}

enum class Peer {
  kClient,
  // The balancer for itself: it looks whether the port is open.
  kBalancer,
  // To be closed.
  kNobody,
};

// Makes the connection the client's that the balancer's header names.
asio::awaitable<Peer> LearnClient(SharedListener* listener, Connection& connection, Place& place,
                                  Deadline deadline) {
  const std::string balancer = connection.peer_address();
  const auto refuse = [&](absl::string_view why) {
    listener->no_proxy_header.Add();
    Log(LogLevel::kWarning, "connection without a PROXY header",
        {{"listener", listener->listener.config.name()}, {"balancer", balancer}, {"why", why}});
  };
  const absl::StatusOr<proxy::Header> header = co_await ReadProxyHeader(connection, deadline);
  // A balancer that looks whether the port is open says nothing; nor is there anything to say of
  // it.
  if (absl::IsOutOfRange(header.status()) || absl::IsUnavailable(header.status())) {
    co_return Peer::kNobody;
  }
  if (!header.ok()) {
    refuse(header.status().message());
    co_return Peer::kNobody;
  }
  // It counts for nobody.
  if (header->local) co_return Peer::kBalancer;
  boost::system::error_code error;
  const asio::ip::address client = asio::ip::make_address(header->source.address, error);
  if (error) {
    refuse("the client has no address");
    co_return Peer::kNobody;
  }
  connection.set_peer_address(client);
  if (place.TakeFor(client)) co_return Peer::kClient;
  (void)co_await connection.Write(listener->RefusalWords(), deadline);
  co_return Peer::kNobody;
}

asio::awaitable<void> RunSession(Loop* loop, SharedListener* listener, tcp::socket socket,
                                 asio::ip::address peer, Place place) {
  const config::v1::Listener& config = listener->listener.config;
  const Deadline now = std::chrono::steady_clock::now();
  Connection connection(std::move(socket), peer);
  const Listed listed(loop, &connection);
  if (loop->draining) connection.Interrupt();

  SessionContext context;
  context.connection = &connection;
  context.tls = listener->tls;
  context.session_id = NewSessionId();
  context.idle_timeout = std::chrono::seconds(config.idle_timeout_seconds());
  context.session_deadline = now + std::chrono::seconds(config.session_timeout_seconds());
  context.hello_deadline = std::min(now + std::chrono::seconds(config.hello_timeout_seconds()),
                                    context.session_deadline);
  context.draining = [loop] { return loop->draining; };

  Peer who = Peer::kClient;
  if (listener->IsBalancer(peer)) {
    who = co_await LearnClient(listener, connection, place, context.hello_deadline);
  }
  if (who == Peer::kNobody) {
    connection.Close();
    co_return;
  }
  if (config.implicit_tls()) {
    const absl::Status status = co_await connection.StartTls(context.tls, context.hello_deadline);
    if (!status.ok()) {
      // A health check ends here.
      if (who == Peer::kClient) listener->tls_failed.Add();
      Log(LogLevel::kDebug, "TLS handshake failed",
          {{"session", context.session_id},
           {"listener", config.name()},
           {"client", connection.peer_address()},
           {"status", status.message()}});
      connection.Close();
      co_return;
    }
  }
  co_await listener->listener.run(std::move(context));
  connection.Close();
}

void RefusePolitely(const SharedListener& listener, int descriptor) {
  const absl::string_view words = listener.RefusalWords();
  (void)!::send(descriptor, words.data(), words.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  ::shutdown(descriptor, SHUT_WR);
  ::close(descriptor);
}

enum class Accepted { kOne, kNone, kNoRoom };

// Takes one connection from the acceptor's queue. kNoRoom leaves it there.
Accepted AcceptOne(Loop* loop, SharedListener* listener, tcp::acceptor* acceptor,
                   Descriptors* descriptors) {
  tcp::endpoint peer;
  socklen_t size = static_cast<socklen_t>(peer.capacity());
  const int descriptor =
      ::accept4(acceptor->native_handle(), peer.data(), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (descriptor < 0) {
    switch (errno) {
      case EMFILE:
      case ENFILE:
      case ENOBUFS:
      case ENOMEM:
        return Accepted::kNoRoom;
      case EAGAIN:
      case EBADF:
      case EINVAL:
        return Accepted::kNone;
      default:  // That connection's own trouble (accept(2)).
        return Accepted::kOne;
    }
  }
  peer.resize(size);
  Place place(loop, listener, descriptors);
  if (loop->draining || !place.Take() ||
      (!listener->IsBalancer(peer.address()) && !place.TakeFor(peer.address()))) {
    RefusePolitely(*listener, descriptor);
    return Accepted::kOne;
  }
  boost::system::error_code error;
  tcp::socket socket(loop->io);
  socket.assign(peer.protocol(), descriptor, error);
  if (error) {
    ::close(descriptor);
    return Accepted::kNoRoom;
  }
  asio::co_spawn(loop->io,
                 RunSession(loop, listener, std::move(socket), peer.address(), std::move(place)),
                 [](std::exception_ptr failure) {
                   if (failure == nullptr) return;
                   try {
                     std::rethrow_exception(failure);
                   } catch (const std::exception& e) {
                     Log(LogLevel::kError, "session failed", {{"status", e.what()}});
                   }
                 });
  return Accepted::kOne;
}

asio::awaitable<void> Accept(Loop* loop, SharedListener* listener, tcp::acceptor* acceptor,
                             Descriptors* descriptors) {
  asio::steady_timer pause(loop->io);
  while (!loop->draining) {
    auto [error] =
        co_await acceptor->async_wait(tcp::acceptor::wait_read, asio::as_tuple(asio::deferred));
    if (loop->draining) co_return;
    Accepted accepted = error ? Accepted::kNoRoom : Accepted::kOne;
    for (int i = 0; i < kAcceptBatch && accepted == Accepted::kOne; ++i) {
      accepted = AcceptOne(loop, listener, acceptor, descriptors);
    }
    if (accepted != Accepted::kNoRoom) continue;
    // The connections stay in the queue; asking again at once would only spin.
    descriptors->SayFull(std::strerror(errno));
    pause.expires_after(kAcceptPause);
    auto [ignored] = co_await pause.async_wait(asio::as_tuple(asio::deferred));
    (void)ignored;
  }
}

absl::Status BindError(const config::v1::Listener& config, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("listener \"", config.name(), "\": address ",
                                                 config.address(), " port ", config.port(), ": ",
                                                 why));
}

class LoopGateway : public Gateway {
 public:
  ~LoopGateway() override {
    Drain(absl::ZeroDuration());
    for (std::unique_ptr<Loop>& loop : loops_) {
      if (!loop->thread.joinable()) continue;
      // A session still waits for a service's answer, which will be posted to this loop: the loop
      // must be there. The process is about to end.
      left_behind_ = true;
      loop->thread.detach();
      (void)loop.release();
    }
    if (!left_behind_) return;
    Log(LogLevel::kWarning, "sessions left behind a service's answer");
    for (std::unique_ptr<SharedListener>& listener : listeners_) (void)listener.release();
    (void)descriptors_.release();
  }

  absl::Status Listen(std::vector<GatewayListener> listeners,
                      const std::map<std::string, std::shared_ptr<TlsProfile>>& domains,
                      int threads) {
    for (int i = 0; i < threads; ++i) loops_.push_back(std::make_unique<Loop>());
    for (GatewayListener& listener : listeners) {
      std::shared_ptr<TlsProfile> profile;
      if (listener.config.tls_enabled() || listener.config.implicit_tls()) {
        const auto found = domains.find(listener.config.security_domain());
        if (found == domains.end()) {
          return absl::InvalidArgumentError(
              absl::StrCat("listener \"", listener.config.name(), "\": security_domain \"",
                           listener.config.security_domain(), "\" is not in security_domains"));
        }
        profile = found->second;
      }
      listeners_.push_back(
          std::make_unique<SharedListener>(std::move(listener), std::move(profile)));
      const absl::Status status = BindOnEveryLoop(listeners_.back().get());
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  void Run() {
    CompareWithDescriptors();
    for (const std::unique_ptr<Loop>& loop : loops_) {
      for (const Loop::Acceptor& acceptor : loop->acceptors) {
        asio::co_spawn(
            loop->io,
            Accept(loop.get(), acceptor.listener, acceptor.acceptor.get(), descriptors_.get()),
            [](std::exception_ptr failure) {
              if (failure != nullptr) std::rethrow_exception(failure);
            });
      }
      loop->thread = std::thread([io = &loop->io] { io->run(); });
    }
  }

  std::map<std::string, int> Ports() const override {
    std::map<std::string, int> ports;
    for (const std::unique_ptr<SharedListener>& listener : listeners_) {
      ports[listener->listener.config.name()] = listener->port;
    }
    return ports;
  }

  void Drain(absl::Duration grace) override {
    ForEachRunning([this](Loop* loop) { BeginDrain(loop); });
    WaitUntilEmpty(grace);
    ForEachRunning([](Loop* loop) {
      if (loop->empty.HasBeenNotified()) return;
      for (Connection* connection : loop->connections) connection->Abort();
    });
    WaitUntilEmpty(kCutTimeout);
    for (const std::unique_ptr<Loop>& loop : loops_) {
      if (!loop->thread.joinable() || !loop->empty.HasBeenNotified()) continue;
      // Not stop(): a callback of a service's may have brought a session its answer and not yet
      // have let go of the loop.
      loop->work.reset();
      loop->thread.join();
    }
  }

 private:
  absl::Status BindOnEveryLoop(SharedListener* listener) {
    const config::v1::Listener& config = listener->listener.config;
    boost::system::error_code error;
    const asio::ip::address address = asio::ip::make_address(config.address(), error);
    if (error) return BindError(config, "not an IP address");
    tcp::endpoint endpoint(address, static_cast<unsigned short>(config.port()));
    if (config.port() != 0 && !config.share_port()) {
      // SO_REUSEPORT would share the port with another process of this user without a word, another
      // gateway for instance: first see that nobody listens there.
      tcp::acceptor probe(loops_.front()->io);
      Bind(endpoint, /*share_port=*/false, &probe, error);
      if (error) return BindError(config, error.message());
    }
    for (const std::unique_ptr<Loop>& loop : loops_) {
      auto acceptor = std::make_unique<tcp::acceptor>(loop->io);
      Bind(endpoint, /*share_port=*/true, acceptor.get(), error);
      if (!error) acceptor->listen(tcp::acceptor::max_listen_connections, error);
      if (!error) acceptor->native_non_blocking(true, error);
      // Port 0: the others take the port that the first was given.
      if (!error && endpoint.port() == 0) endpoint.port(acceptor->local_endpoint(error).port());
      if (error) return BindError(config, error.message());
      loop->acceptors.push_back({listener, std::move(acceptor)});
    }
    listener->port = endpoint.port();
    return absl::OkStatus();
  }

  void BeginDrain(Loop* loop) {
    if (loop->draining) return;
    loop->draining = true;
    boost::system::error_code ignored;
    for (const Loop::Acceptor& acceptor : loop->acceptors) {
      // The kernel has said yes to these already: closing would reset them.
      while (AcceptOne(loop, acceptor.listener, acceptor.acceptor.get(), descriptors_.get()) ==
             Accepted::kOne) {
      }
      acceptor.acceptor->close(ignored);
    }
    for (Connection* connection : loop->connections) connection->Interrupt();
    loop->NoteIfEmpty();
  }

  void ForEachRunning(std::function<void(Loop*)> what) {
    for (const std::unique_ptr<Loop>& loop : loops_) {
      if (!loop->thread.joinable()) continue;
      asio::post(loop->io, [what, loop = loop.get()] { what(loop); });
    }
  }

  void WaitUntilEmpty(absl::Duration timeout) {
    const absl::Time until = absl::Now() + timeout;
    for (const std::unique_ptr<Loop>& loop : loops_) {
      if (!loop->thread.joinable()) continue;
      loop->empty.WaitForNotificationWithTimeout(
          std::max(until - absl::Now(), absl::ZeroDuration()));
    }
  }

  // A configuration that the process can't hold is said at once, in one line.
  void CompareWithDescriptors() const {
    int64_t wanted = 0;
    for (const std::unique_ptr<SharedListener>& listener : listeners_) {
      wanted += listener->listener.config.max_connections();
    }
    if (wanted <= descriptors_->most()) return;
    Log(LogLevel::kWarning, "max_connections is more than this process has descriptors for",
        {{"max_connections", wanted},
         {"most", descriptors_->most()},
         {"why", "the hard limit of open files (ulimit -Hn), less a reserve"}});
  }

  // The loops' sessions use these.
  std::unique_ptr<Descriptors> descriptors_ = std::make_unique<Descriptors>();
  std::vector<std::unique_ptr<SharedListener>> listeners_;
  std::vector<std::unique_ptr<Loop>> loops_;
  bool left_behind_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Gateway>> Gateway::Start(
    std::vector<GatewayListener> listeners,
    const std::map<std::string, std::shared_ptr<TlsProfile>>& domains, int threads) {
  if (threads <= 0) threads = std::max(1u, std::thread::hardware_concurrency());
  auto gateway = std::make_unique<LoopGateway>();
  const absl::Status status = gateway->Listen(std::move(listeners), domains, threads);
  if (!status.ok()) return status;
  gateway->Run();
  return std::unique_ptr<Gateway>(std::move(gateway));
}

}  // namespace postern::net
