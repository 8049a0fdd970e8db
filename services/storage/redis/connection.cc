#include "services/storage/redis/connection.h"

#include <hiredis/hiredis.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "boost/asio/as_tuple.hpp"
#include "boost/asio/co_spawn.hpp"
#include "boost/asio/deferred.hpp"
#include "boost/asio/detached.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/this_coro.hpp"
#include "services/async/await.h"
#include "services/config/small_file.h"

namespace postern::storage::redis {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using asio::ip::tcp;

// A cluster's slots are the longest that we ask for: some 100 octets a range and node.
constexpr size_t kMaxReplyOctets = 4 << 20;
// Commands without an answer; more wait for nothing.
constexpr size_t kMaxWaiting = 10000;
constexpr size_t kMaxPasswordOctets = 4096;

Reply Copy(const redisReply& from) {
  Reply reply;
  switch (from.type) {
    case REDIS_REPLY_INTEGER:
      reply.type = Reply::Type::kInteger;
      reply.integer = from.integer;
      break;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR:
      reply.type = from.type == REDIS_REPLY_ERROR ? Reply::Type::kError : Reply::Type::kText;
      reply.text.assign(from.str, from.len);
      break;
    case REDIS_REPLY_ARRAY:
      reply.type = Reply::Type::kArray;
      for (size_t i = 0; i < from.elements; ++i) reply.elements.push_back(Copy(*from.element[i]));
      break;
    default:
      break;
  }
  return reply;
}

std::string Encode(const Command& command) {
  std::vector<const char*> arguments;
  std::vector<size_t> lengths;
  for (const std::string& argument : command) {
    arguments.push_back(argument.data());
    lengths.push_back(argument.size());
  }
  char* octets = nullptr;
  const long long size = redisFormatCommandArgv(&octets, static_cast<int>(command.size()),
                                                arguments.data(), lengths.data());
  std::string encoded(octets, size > 0 ? static_cast<size_t>(size) : 0);
  redisFreeCommand(octets);
  return encoded;
}

absl::StatusOr<std::shared_ptr<SSL_CTX>> MakeContext(const Access& access) {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  if (context == nullptr) return absl::ResourceExhaustedError("no memory for TLS");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  const auto wrong = [](const char* key, const std::string& file) {
    ERR_clear_error();
    return absl::InvalidArgumentError(absl::StrCat("redis.", key, ": ", file, ": can't be used"));
  };
  if (SSL_CTX_load_verify_locations(context.get(), access.ca_file.c_str(), nullptr) != 1) {
    return wrong("ca_file", access.ca_file);
  }
  if (access.certificate_file.empty()) return context;
  if (SSL_CTX_use_certificate_chain_file(context.get(), access.certificate_file.c_str()) != 1) {
    return wrong("certificate_file", access.certificate_file);
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), access.private_key_file.c_str(),
                                  SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context.get()) != 1) {
    return wrong("private_key_file", access.private_key_file);
  }
  return context;
}

absl::StatusOr<std::string> ReadPassword(const std::string& file) {
  absl::StatusOr<std::string> text = config::ReadSmallFile(file, kMaxPasswordOctets);
  if (!text.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("redis.password_file: ", text.status().message()));
  }
  while (!text->empty() && (text->back() == '\n' || text->back() == '\r')) text->pop_back();
  if (text->empty()) {
    return absl::InvalidArgumentError(absl::StrCat("redis.password_file: ", file, ": is empty"));
  }
  return text;
}

absl::Status OfReply(const absl::StatusOr<Reply>& reply) {
  if (!reply.ok()) return reply.status();
  if (reply->type != Reply::Type::kError) return absl::OkStatus();
  return absl::FailedPreconditionError(reply->text);
}

}  // namespace

std::string Endpoint::ToString() const {
  return absl::StrContains(host, ':') ? absl::StrCat("[", host, "]:", port)
                                      : absl::StrCat(host, ":", port);
}

absl::StatusOr<Endpoint> ParseEndpoint(const std::string& text, int default_port) {
  const auto wrong = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, R"(": expected "host", "host:port" or "[IPv6 address]:port")"));
  };
  Endpoint endpoint{.port = default_port};
  absl::string_view rest = text;
  if (absl::StartsWith(rest, "[")) {
    const size_t end = rest.find(']');
    if (end == absl::string_view::npos) return wrong();
    endpoint.host = std::string(rest.substr(1, end - 1));
    rest.remove_prefix(end + 1);
  } else {
    const size_t end = std::min(rest.find(':'), rest.size());
    endpoint.host = std::string(rest.substr(0, end));
    rest.remove_prefix(end);
  }
  if (endpoint.host.empty()) return wrong();
  if (rest.empty()) return endpoint;
  if (rest[0] != ':' || !absl::SimpleAtoi(rest.substr(1), &endpoint.port) || endpoint.port < 1 ||
      endpoint.port > 65535) {
    return wrong();
  }
  return endpoint;
}

absl::Status CheckFiles(const Access& access) {
  if (!access.password_file.empty()) {
    if (absl::Status status = ReadPassword(access.password_file).status(); !status.ok()) {
      return status;
    }
  }
  return access.ca_file.empty() ? absl::OkStatus() : MakeContext(access).status();
}

Connection::Connection(const asio::any_io_executor& executor)
    : connection_(executor), broken_(executor), reader_(redisReaderCreate(), redisReaderFree) {}

Connection::~Connection() { Close(absl::UnavailableError("the connection ended")); }

awaitable<absl::StatusOr<std::shared_ptr<Connection>>> Connection::Open(Endpoint endpoint,
                                                                        Access access,
                                                                        net::Deadline deadline) {
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  const auto failed = [&](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(endpoint.ToString(), ": ", status.message()));
  };
  tcp::resolver resolver(executor);
  auto [unresolved, found] = co_await resolver.async_resolve(
      endpoint.host, absl::StrCat(endpoint.port), asio::as_tuple(asio::deferred));
  if (unresolved) co_return failed(absl::UnavailableError(unresolved.message()));
  absl::Status status = absl::UnavailableError("the name has no address");
  std::shared_ptr<Connection> made;
  for (const auto& address : found) {
    if (access.ca_file.empty() && !address.endpoint().address().is_loopback()) {
      status = absl::FailedPreconditionError("without redis.ca_file only loopback is connected to");
      continue;
    }
    made.reset(new Connection(executor));
    status = co_await made->connection_.Connect(address.endpoint(), deadline);
    if (status.ok()) break;
  }
  if (!status.ok()) co_return failed(status);
  if (!access.ca_file.empty()) {
    absl::StatusOr<std::shared_ptr<SSL_CTX>> context = MakeContext(access);
    if (!context.ok()) co_return context.status();
    status = co_await made->connection_.StartTlsAsClient(context->get(), endpoint.host, deadline);
    if (!status.ok()) co_return failed(status);
  }
  asio::co_spawn(
      executor, [made] { return made->Run(); }, asio::detached);
  if (!access.password_file.empty()) {
    absl::StatusOr<std::string> password = ReadPassword(access.password_file);
    if (!password.ok()) {
      made->Close(password.status());
      co_return password.status();
    }
    Command auth = {"AUTH"};
    if (!access.username.empty()) auth.push_back(access.username);
    auth.push_back(*std::move(password));
    status = OfReply(co_await async::Await<absl::StatusOr<Reply>>(
        [&](async::Done<Reply> done) { made->Send(auth, deadline, std::move(done)); }));
    if (!status.ok()) {
      made->Close(status);
      co_return failed(status);
    }
  }
  co_return made;
}

void Connection::Send(const Command& command, net::Deadline deadline, async::Done<Reply> done) {
  if (!state_.ok()) {
    done(state_);
    return;
  }
  if (waiting_.size() >= kMaxWaiting) {
    done(absl::UnavailableError("too many commands wait"));
    return;
  }
  out_ += Encode(command);
  waiting_.push_back({deadline, std::move(done)});
  connection_.Interrupt();
}

void Connection::Close(absl::Status why) {
  if (!state_.ok()) return;
  state_ = absl::UnavailableError(why.message());
  connection_.Abort();
  broken_.cancel();
  std::deque<Waiting> waiting;
  waiting.swap(waiting_);
  for (Waiting& one : waiting) one.done(state_);
}

awaitable<void> Connection::BrokenWithin(std::chrono::milliseconds time) {
  if (!state_.ok()) co_return;
  broken_.expires_after(time);
  co_await broken_.async_wait(asio::as_tuple(asio::deferred));
}

awaitable<void> Connection::Run() {
  const std::shared_ptr<Connection> self = shared_from_this();
  while (state_.ok()) {
    const net::Deadline deadline =
        waiting_.empty() ? net::Deadline::max() : waiting_.front().deadline;
    if (!out_.empty()) {
      const std::string octets = std::exchange(out_, {});
      const absl::Status sent = co_await connection_.Write(octets, deadline);
      if (!sent.ok()) Close(sent);
      continue;
    }
    connection_.ClearInterrupt();
    const absl::Span<char> buffer = net::ThreadReadBuffer();
    const absl::StatusOr<size_t> got = co_await connection_.ReadSome(buffer, deadline);
    // Something is to be sent.
    if (absl::IsCancelled(got.status())) continue;
    const absl::Status taken =
        got.ok() ? Take(absl::string_view(buffer.data(), *got)) : got.status();
    if (!taken.ok()) Close(taken);
  }
}

absl::Status Connection::Take(absl::string_view octets) {
  redisReaderFeed(reader_.get(), octets.data(), octets.size());
  while (true) {
    void* raw = nullptr;
    if (redisReaderGetReply(reader_.get(), &raw) != REDIS_OK) {
      return absl::UnavailableError(absl::StrCat("no Redis protocol: ", reader_->errstr));
    }
    if (raw == nullptr) {
      return reader_->len - reader_->pos > kMaxReplyOctets
                 ? absl::UnavailableError("an answer over 4 MiB")
                 : absl::OkStatus();
    }
    const std::unique_ptr<void, void (*)(void*)> reply(raw, freeReplyObject);
    if (waiting_.empty()) return absl::UnavailableError("an answer to nothing");
    Waiting first = std::move(waiting_.front());
    waiting_.pop_front();
    first.done(Copy(*static_cast<const redisReply*>(raw)));
    if (!state_.ok()) return state_;
  }
}

}  // namespace postern::storage::redis
