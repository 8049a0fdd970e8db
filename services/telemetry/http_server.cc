#include "services/telemetry/http_server.h"

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "boost/asio/io_context.hpp"
#include "boost/asio/ip/address.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/steady_timer.hpp"
#include "boost/beast/core/flat_buffer.hpp"
#include "boost/beast/core/tcp_stream.hpp"
#include "boost/beast/http.hpp"

namespace postern::telemetry {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;

constexpr size_t kMaxRequestOctets = 8192;
constexpr int kMaxConnections = 64;
constexpr std::chrono::seconds kRequestTimeout{10};
// When no descriptor is left, accepting again at once would only spin.
constexpr std::chrono::milliseconds kAcceptPause{100};

// One connection. Owned by its pending operation; dies with the last one.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, const HttpServer::Handler& handler, int* connections)
      : stream_(std::move(socket)), handler_(handler), connections_(connections) {
    ++*connections_;
  }
  ~Session() { --*connections_; }

  void Read() {
    parser_.emplace();
    parser_->header_limit(kMaxRequestOctets);
    parser_->body_limit(0);
    stream_.expires_after(kRequestTimeout);
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](beast::error_code error, size_t) {
                       if (!error) {
                         self->Answer();
                       }
                     });
  }

 private:
  void Answer() {
    const auto& request = parser_->get();
    const bool head = request.method() == http::verb::head;
    const absl::string_view target(request.target().data(), request.target().size());
    HttpResponse answer;
    if (!head && request.method() != http::verb::get) {
      answer = {.code = 405, .body = "GET and HEAD only\n"};
    } else {
      answer = handler_(target.substr(0, target.find('?')));
    }
    response_ = {};
    response_.version(request.version());
    response_.result(static_cast<unsigned>(answer.code));
    response_.set(http::field::content_type,
                  beast::string_view(answer.content_type.data(), answer.content_type.size()));
    response_.set(http::field::cache_control, "no-store");
    response_.keep_alive(request.keep_alive());
    if (head) {
      response_.content_length(answer.body.size());
    } else {
      response_.body() = std::move(answer.body);
      response_.prepare_payload();
    }
    stream_.expires_after(kRequestTimeout);
    http::async_write(stream_, response_,
                      [self = shared_from_this()](beast::error_code error, size_t) {
                        if (!error && self->response_.keep_alive()) {
                          self->Read();
                        }
                      });
  }

  beast::tcp_stream stream_;
  const HttpServer::Handler& handler_;
  int* const connections_;
  beast::flat_buffer buffer_{kMaxRequestOctets};
  std::optional<http::request_parser<http::empty_body>> parser_;
  http::response<http::string_body> response_;
};

class BeastServer final : public HttpServer {
 public:
  explicit BeastServer(Handler handler) : handler_(std::move(handler)) {}

  ~BeastServer() override {
    io_.stop();
    if (thread_.joinable()) {
      thread_.join();
    }
  }

  absl::Status Listen(absl::string_view address, int port) {
    beast::error_code error;
    const auto fail = [&error, address, port] {
      return absl::InvalidArgumentError(absl::StrCat("process.http: cannot listen on ", address,
                                                     " port ", port, ": ", error.message()));
    };
    const asio::ip::address ip = asio::ip::make_address(std::string(address), error);
    if (error) {
      return fail();
    }
    const tcp::endpoint endpoint(ip, static_cast<unsigned short>(port));
    if (acceptor_.open(endpoint.protocol(), error) ||
        acceptor_.set_option(asio::socket_base::reuse_address(true), error) ||
        acceptor_.bind(endpoint, error) ||
        acceptor_.listen(asio::socket_base::max_listen_connections, error)) {
      return fail();
    }
    port_ = acceptor_.local_endpoint(error).port();
    Accept();
    thread_ = std::thread([this] { io_.run(); });
    return absl::OkStatus();
  }

  int port() const override { return port_; }

 private:
  void Accept() {
    acceptor_.async_accept([this](beast::error_code error, tcp::socket socket) {
      if (error) {
        pause_.expires_after(kAcceptPause);
        pause_.async_wait([this](beast::error_code) { Accept(); });
        return;
      }
      // Over the limit it is closed at once: whoever asks for our health asks again.
      if (connections_ < kMaxConnections) {
        std::make_shared<Session>(std::move(socket), handler_, &connections_)->Read();
      }
      Accept();
    });
  }

  const Handler handler_;
  // On the server's thread. Outlives the sessions, which io_ holds.
  int connections_ = 0;
  int port_ = 0;
  asio::io_context io_{1};
  tcp::acceptor acceptor_{io_};
  asio::steady_timer pause_{io_};
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(absl::string_view address, int port,
                                                              Handler handler) {
  auto server = std::make_unique<BeastServer>(std::move(handler));
  if (absl::Status status = server->Listen(address, port); !status.ok()) {
    return status;
  }
  return server;
}

}  // namespace postern::telemetry
