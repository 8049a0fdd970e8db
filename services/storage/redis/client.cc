#include "services/storage/redis/client.h"

#include <openssl/evp.h>

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "boost/asio/as_tuple.hpp"
#include "boost/asio/co_spawn.hpp"
#include "boost/asio/deferred.hpp"
#include "boost/asio/detached.hpp"
#include "boost/asio/executor_work_guard.hpp"
#include "boost/asio/io_context.hpp"
#include "boost/asio/post.hpp"
#include "boost/asio/steady_timer.hpp"
#include "services/storage/redis/connection.h"
#include "services/storage/redis/node.h"
#include "services/telemetry/log.h"
#include "services/telemetry/metrics.h"

namespace postern::storage::redis {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using std::chrono::steady_clock;
using telemetry::Log;
using telemetry::LogLevel;

constexpr int kPort = 6379;
constexpr int kSentinelPort = 26379;
// TCP, TLS and AUTH.
constexpr std::chrono::milliseconds kConnectTime(1000);
constexpr int kSlots = 16384;
// How often a cluster is asked who serves what: when all is served, and when it is not.
constexpr std::chrono::seconds kSettledInterval(10);
constexpr std::chrono::seconds kUnsettledInterval(1);
constexpr std::chrono::milliseconds kTopologyTime(1000);
// A slot that moves while we ask is met twice at most.
constexpr int kMaxRedirects = 3;

Access AccessOf(const config::v1::Redis& config) {
  return {.username = config.username(),
          .password_file = config.password_file(),
          .ca_file = config.ca_file(),
          .certificate_file = config.certificate_file(),
          .private_key_file = config.private_key_file()};
}

Access SentinelAccessOf(const config::v1::Redis& config) {
  Access access = AccessOf(config);
  access.username = config.sentinel().username();
  access.password_file = config.sentinel().password_file();
  return access;
}

absl::StatusOr<std::vector<Endpoint>> EndpointsOf(const config::v1::Redis& config) {
  std::vector<Endpoint> endpoints;
  for (const std::string& address : config.addresses()) {
    absl::StatusOr<Endpoint> endpoint =
        ParseEndpoint(address, config.has_sentinel() ? kSentinelPort : kPort);
    if (!endpoint.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("redis.addresses: ", endpoint.status().message()));
    }
    endpoints.push_back(*std::move(endpoint));
  }
  return endpoints;
}

// A command that is on its way.
struct Job {
  Command command;
  int slot;
  net::Deadline deadline;
  async::Done<Reply> done;
  // Of EVALSHA; null: no script.
  const Script* script = nullptr;
  int redirects = 0;
};

// Which node serves a slot: all of it but for a cluster is one node. Of one loop's thread.
class Topology {
 public:
  virtual ~Topology() = default;
  virtual void Start() = 0;
  virtual void Stop() = 0;
  // Null: nobody.
  virtual Node* NodeOf(int slot) = 0;
  // "MOVED 3999 host:port", "ASK 3999 host:port": the one that it names.
  virtual Node* Redirected(absl::string_view error, const Node& from) = 0;
  virtual absl::Status state() const = 0;
  virtual bool any_up() const = 0;
};

class OneNode final : public Topology {
 public:
  OneNode(const asio::any_io_executor& executor, Node::Connect connect,
          std::chrono::milliseconds timeout, std::function<void()> changed)
      : node_(std::make_shared<Node>(executor, std::move(connect), timeout, std::move(changed))) {}

  void Start() override { node_->Start(); }
  void Stop() override { node_->Stop(); }
  Node* NodeOf(int) override { return node_.get(); }
  Node* Redirected(absl::string_view, const Node&) override { return nullptr; }
  absl::Status state() const override { return node_->state(); }
  bool any_up() const override { return node_->state().ok(); }

 private:
  const std::shared_ptr<Node> node_;
};

class Cluster final : public Topology, public std::enable_shared_from_this<Cluster> {
 public:
  Cluster(const asio::any_io_executor& executor, std::vector<Endpoint> seeds, Access access,
          std::chrono::milliseconds timeout, std::function<void()> changed)
      : executor_(executor),
        seeds_(std::move(seeds)),
        access_(std::move(access)),
        timeout_(timeout),
        changed_(std::move(changed)),
        pause_(executor) {
    slots_.fill(nullptr);
  }

  void Start() override {
    for (const Endpoint& seed : seeds_) NodeAt(seed);
    asio::co_spawn(
        executor_, [self = shared_from_this()] { return self->Keep(); }, asio::detached);
  }

  void Stop() override {
    stopped_ = true;
    pause_.cancel();
    for (auto& [name, known] : nodes_) known.node->Stop();
  }

  Node* NodeOf(int slot) override { return slots_[slot]; }

  Node* Redirected(absl::string_view error, const Node& from) override {
    const std::vector<absl::string_view> words = absl::StrSplit(error, ' ');
    int slot = 0;
    if (words.size() != 3 || !absl::SimpleAtoi(words[1], &slot) || slot < 0 || slot >= kSlots) {
      return nullptr;
    }
    // "6381:7000" of an IPv6 address has no brackets here: the port is behind the last colon.
    const size_t colon = words[2].rfind(':');
    Endpoint to;
    if (colon == absl::string_view::npos || !absl::SimpleAtoi(words[2].substr(colon + 1), &to.port))
      return nullptr;
    to.host = colon == 0 ? HostOf(from) : std::string(words[2].substr(0, colon));
    Node* const node = NodeAt(to);
    if (words[0] == "MOVED") {
      slots_[slot] = node;
      pause_.cancel();
    }
    return node;
  }

  absl::Status state() const override {
    if (!settled_) return absl::UnavailableError(why_);
    for (const auto& [name, known] : nodes_) {
      if (known.serves && !known.node->state().ok()) return known.node->state();
    }
    return absl::OkStatus();
  }

  bool any_up() const override {
    for (const auto& [name, known] : nodes_) {
      if (known.node->state().ok()) return true;
    }
    return false;
  }

 private:
  struct Known {
    Endpoint endpoint;
    std::shared_ptr<Node> node;
    // A slot, as far as is known.
    bool serves = false;
  };

  Node* NodeAt(const Endpoint& endpoint) {
    Known& known = nodes_[endpoint.ToString()];
    if (known.node != nullptr) return known.node.get();
    known.endpoint = endpoint;
    known.node = std::make_shared<Node>(
        executor_,
        [endpoint, access = access_] {
          return Connection::Open(endpoint, access, steady_clock::now() + kConnectTime);
        },
        timeout_,
        [this] {
          pause_.cancel();
          changed_();
        });
    known.node->Start();
    return known.node.get();
  }

  std::string HostOf(const Node& node) const {
    for (const auto& [name, known] : nodes_) {
      if (known.node.get() == &node) return known.endpoint.host;
    }
    return "";
  }

  awaitable<void> Keep() {
    const std::shared_ptr<Cluster> self = shared_from_this();
    while (!stopped_) {
      co_await Learn();
      if (stopped_) break;
      changed_();
      pause_.expires_after(state().ok() ? kSettledInterval : kUnsettledInterval);
      co_await pause_.async_wait(asio::as_tuple(asio::deferred));
      // Once in a while at most, however many slots have moved.
      if (!stopped_) {
        pause_.expires_after(std::chrono::milliseconds(100));
        co_await pause_.async_wait(asio::as_tuple(asio::deferred));
      }
    }
  }

  // Asks the nodes in turn, until one knows.
  awaitable<void> Learn() {
    std::string why = "no node of the cluster answers";
    std::vector<Known> asked;
    for (const auto& [name, known] : nodes_) asked.push_back(known);
    for (const Known& known : asked) {
      const std::shared_ptr<Connection> connection = known.node->connection();
      if (connection == nullptr) continue;
      const Command slots = {"CLUSTER", "SLOTS"};
      absl::StatusOr<Reply> reply = co_await Ask(*connection, slots, kTopologyTime);
      if (stopped_) co_return;
      if (!reply.ok()) {
        why = std::string(reply.status().message());
        continue;
      }
      settled_ = Apply(*reply, known.endpoint.host);
      if (settled_) co_return;
      why = "not every slot of the cluster is served";
    }
    settled_ = false;
    why_ = std::move(why);
  }

  // [[first, last, [host, port, ...], replicas ...] ...]; whether every slot is among them.
  bool Apply(const Reply& reply, const std::string& asked) {
    slots_.fill(nullptr);
    for (auto& [name, known] : nodes_) known.serves = false;
    int served = 0;
    for (const Reply& range : reply.elements) {
      if (range.elements.size() < 3 || range.elements[2].elements.size() < 2) continue;
      const int64_t first = range.elements[0].integer;
      const int64_t last = range.elements[1].integer;
      if (first < 0 || last >= kSlots || first > last) continue;
      const std::string& host = range.elements[2].elements[0].text;
      const Endpoint endpoint{host.empty() ? asked : host,
                              static_cast<int>(range.elements[2].elements[1].integer)};
      Node* const node = NodeAt(endpoint);
      nodes_[endpoint.ToString()].serves = true;
      for (int64_t slot = first; slot <= last; ++slot) slots_[slot] = node;
      served += static_cast<int>(last - first) + 1;
    }
    for (auto known = nodes_.begin(); known != nodes_.end();) {
      if (known->second.serves || IsSeed(known->second.endpoint)) {
        ++known;
        continue;
      }
      known->second.node->Stop();
      known = nodes_.erase(known);
    }
    return served == kSlots;
  }

  bool IsSeed(const Endpoint& endpoint) const {
    for (const Endpoint& seed : seeds_) {
      if (seed == endpoint) return true;
    }
    return false;
  }

  const asio::any_io_executor executor_;
  const std::vector<Endpoint> seeds_;
  const Access access_;
  const std::chrono::milliseconds timeout_;
  const std::function<void()> changed_;
  asio::steady_timer pause_;
  bool stopped_ = false;
  // Every slot has a node.
  bool settled_ = false;
  std::string why_ = "not connected yet";
  std::map<std::string, Known> nodes_;
  std::array<Node*, kSlots> slots_;
};

// Asks the sentinels in turn which server is the master, and connects to it when it says so itself
// (https://redis.io/docs/reference/sentinel-clients/).
awaitable<absl::StatusOr<std::shared_ptr<Connection>>> ConnectToMaster(
    std::vector<Endpoint> sentinels, Access sentinel_access, std::string name, Access access) {
  absl::Status last = absl::UnavailableError("no sentinel answers");
  for (const Endpoint& sentinel : sentinels) {
    absl::StatusOr<std::shared_ptr<Connection>> asked =
        co_await Connection::Open(sentinel, sentinel_access, steady_clock::now() + kConnectTime);
    if (!asked.ok()) {
      last = asked.status();
      continue;
    }
    const Command question = {"SENTINEL", "get-master-addr-by-name", name};
    absl::StatusOr<Reply> where = co_await Ask(**asked, question, kConnectTime);
    (*asked)->Close(absl::UnavailableError("done"));
    Endpoint master;
    if (!where.ok()) {
      last = where.status();
      continue;
    }
    if (where->elements.size() != 2 || !absl::SimpleAtoi(where->elements[1].text, &master.port)) {
      last = absl::FailedPreconditionError(
          absl::StrCat(sentinel.ToString(), ": knows no master \"", name, "\""));
      continue;
    }
    master.host = where->elements[0].text;
    absl::StatusOr<std::shared_ptr<Connection>> connection =
        co_await Connection::Open(master, access, steady_clock::now() + kConnectTime);
    if (!connection.ok()) {
      last = connection.status();
      continue;
    }
    const Command which = {"ROLE"};
    absl::StatusOr<Reply> role = co_await Ask(**connection, which, kConnectTime);
    if (role.ok() && !role->elements.empty() && role->elements[0].text == "master") {
      co_return *std::move(connection);
    }
    last = role.ok() ? absl::UnavailableError(absl::StrCat(master.ToString(), ": is no master"))
                     : role.status();
    (*connection)->Close(last);
  }
  co_return last;
}

awaitable<absl::StatusOr<std::shared_ptr<Connection>>> ConnectToOneOf(std::vector<Endpoint> servers,
                                                                      Access access) {
  absl::Status last;
  for (const Endpoint& server : servers) {
    absl::StatusOr<std::shared_ptr<Connection>> connection =
        co_await Connection::Open(server, access, steady_clock::now() + kConnectTime);
    if (connection.ok()) co_return connection;
    last = connection.status();
  }
  co_return last;
}

class NetworkClient final : public Client {
 public:
  NetworkClient(const config::v1::Redis& config, std::vector<Endpoint> endpoints)
      : timeout_(config.timeout_milliseconds()), work_(asio::make_work_guard(loop_)) {
    const auto changed = [this] { OnChange(); };
    if (config.cluster()) {
      topology_ = std::make_shared<Cluster>(loop_.get_executor(), std::move(endpoints),
                                            AccessOf(config), timeout_, changed);
    } else {
      Node::Connect connect;
      if (config.has_sentinel()) {
        connect = [endpoints = std::move(endpoints), sentinel = SentinelAccessOf(config),
                   name = config.sentinel().master_name(), access = AccessOf(config)] {
          return ConnectToMaster(endpoints, sentinel, name, access);
        };
      } else {
        connect = [endpoints = std::move(endpoints), access = AccessOf(config)] {
          return ConnectToOneOf(endpoints, access);
        };
      }
      topology_ =
          std::make_shared<OneNode>(loop_.get_executor(), std::move(connect), timeout_, changed);
    }
    Up().Set(0);
    topology_->Start();
    thread_ = std::thread([this] { loop_.run(); });
  }

  ~NetworkClient() override {
    asio::post(loop_, [this] { topology_->Stop(); });
    work_.reset();
    thread_.join();
  }

  void Run(std::string name, std::string key, std::vector<std::string> arguments,
           async::Done<Reply> done) override {
    const int slot = SlotOf(key);
    Command command = {std::move(name), std::move(key)};
    Begin(std::move(command), slot, std::move(arguments), nullptr, std::move(done));
  }

  void Run(const Script& script, std::string key, std::vector<std::string> arguments,
           async::Done<Reply> done) override {
    const int slot = SlotOf(key);
    Command command = {"EVALSHA", script.sha1(), "1", std::move(key)};
    Begin(std::move(command), slot, std::move(arguments), &script, std::move(done));
  }

  absl::Status Ready() const override {
    absl::MutexLock lock(&mutex_);
    return state_;
  }

 private:
  void Begin(Command command, int slot, std::vector<std::string> arguments, const Script* script,
             async::Done<Reply> done) {
    if (!any_up_.load(std::memory_order_relaxed)) {
      done(absl::UnavailableError("Redis is away"));
      return;
    }
    for (std::string& argument : arguments) command.push_back(std::move(argument));
    asio::post(loop_, [this, job = Job{std::move(command), slot, steady_clock::now() + timeout_,
                                       std::move(done), script}]() mutable {
      Node* const node = topology_->NodeOf(job.slot);
      Send(node, std::move(job));
    });
  }

  void Send(Node* node, Job job) {
    if (node == nullptr || node->connection() == nullptr) {
      job.done(absl::UnavailableError("Redis is away"));
      return;
    }
    // The connection may answer at once: what it is given must be whole before.
    const Command command = job.command;
    const net::Deadline deadline = job.deadline;
    node->connection()->Send(
        command, deadline, [this, node, job = std::move(job)](absl::StatusOr<Reply> reply) mutable {
          if (reply.ok() && reply->type == Reply::Type::kError) {
            OnError(*reply, node, std::move(job));
          } else {
            job.done(std::move(reply));
          }
        });
  }

  // By the names in https://redis.io/docs/reference/cluster-spec/ and Redis' own replies.
  void OnError(const Reply& error, Node* node, Job job) {
    const absl::string_view name = absl::string_view(error.text).substr(0, error.text.find(' '));
    if (name == "NOSCRIPT" && job.script != nullptr && job.command[0] == "EVALSHA") {
      job.command[0] = "EVAL";
      job.command[1] = job.script->text();
      Send(node, std::move(job));
      return;
    }
    if ((name == "MOVED" || name == "ASK") && ++job.redirects <= kMaxRedirects) {
      Node* const other = topology_->Redirected(error.text, *node);
      if (other != nullptr && other->connection() != nullptr && name == "ASK") {
        other->connection()->Send({"ASKING"}, job.deadline, [](absl::StatusOr<Reply>) {});
      }
      Send(other, std::move(job));
      return;
    }
    // A master that became a replica: whoever is master now is to be looked for.
    if (name == "READONLY") node->connection()->Close(absl::UnavailableError(error.text));
    const bool passes = name == "READONLY" || name == "LOADING" || name == "MASTERDOWN" ||
                        name == "CLUSTERDOWN" || name == "TRYAGAIN" || name == "MOVED" ||
                        name == "ASK" || name == "OOM" || name == "BUSY" || name == "NOREPLICAS" ||
                        name == "MISCONF";
    job.done(passes ? absl::UnavailableError(error.text)
                    : absl::FailedPreconditionError(error.text));
  }

  void OnChange() {
    any_up_ = topology_->any_up();
    const absl::Status now = topology_->state();
    {
      absl::MutexLock lock(&mutex_);
      const bool first = std::exchange(unknown_, false);
      if (now.ok() == state_.ok() && !first) {
        state_ = now;
        return;
      }
      state_ = now;
    }
    Up().Set(now.ok() ? 1 : 0);
    Log(now.ok() ? LogLevel::kInfo : LogLevel::kWarning,
        now.ok() ? "redis answers" : "redis does not answer: limits are counted here alone",
        {{"status", now.ToString()}});
  }

  const std::chrono::milliseconds timeout_;
  asio::io_context loop_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::shared_ptr<Topology> topology_;
  std::atomic<bool> any_up_{false};
  mutable absl::Mutex mutex_;
  absl::Status state_ ABSL_GUARDED_BY(mutex_) = absl::UnavailableError("not connected yet");
  // Nothing was said of it.
  bool unknown_ ABSL_GUARDED_BY(mutex_) = true;
  std::thread thread_;
};

}  // namespace

telemetry::Gauge& Up() {
  return telemetry::GetGauge("postern_redis_up",
                             "1: Redis answers. 0: this process counts limits for itself.");
}

Script::Script(absl::string_view text) : text_(text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  EVP_Digest(text_.data(), text_.size(), digest.data(), &size, EVP_sha1(), nullptr);
  sha1_ =
      absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest.data()), size));
}

int SlotOf(absl::string_view key) {
  const size_t open = key.find('{');
  if (open != absl::string_view::npos) {
    const size_t close = key.find('}', open + 1);
    if (close != absl::string_view::npos && close > open + 1) {
      key = key.substr(open + 1, close - open - 1);
    }
  }
  // CRC-16/XMODEM.
  uint16_t crc = 0;
  for (const char c : key) {
    crc ^= static_cast<uint16_t>(static_cast<unsigned char>(c)) << 8;
    for (int bit = 0; bit < 8; ++bit) {
      crc = static_cast<uint16_t>((crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1);
    }
  }
  return crc % kSlots;
}

absl::Status CheckConfig(const config::v1::Redis& config) {
  if (config.has_sentinel() && config.cluster()) {
    return absl::InvalidArgumentError("redis.cluster: stands beside redis.sentinel");
  }
  if (config.certificate_file().empty() != config.private_key_file().empty()) {
    return absl::InvalidArgumentError(
        "redis.certificate_file: belongs together with redis.private_key_file");
  }
  if (config.ca_file().empty() && !config.certificate_file().empty()) {
    return absl::InvalidArgumentError("redis.ca_file: is absent, and a certificate needs TLS");
  }
  if (!config.username().empty() && config.password_file().empty()) {
    return absl::InvalidArgumentError("redis.password_file: is absent, and there is a username");
  }
  if (absl::Status status = EndpointsOf(config).status(); !status.ok()) return status;
  if (config.has_sentinel()) {
    absl::Status status = CheckFiles(SentinelAccessOf(config));
    if (!status.ok()) return status;
  }
  return CheckFiles(AccessOf(config));
}

absl::StatusOr<std::unique_ptr<Client>> Client::Open(const config::v1::Redis& config) {
  if (absl::Status status = CheckConfig(config); !status.ok()) return status;
  return std::make_unique<NetworkClient>(config, *EndpointsOf(config));
}

}  // namespace postern::storage::redis
