#include "auth-svc/oauth/testing/test_issuer.h"

#include <unistd.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace postern::auth::oauth {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

const identity::TestPki& Pki() {
  static const identity::TestPki& pki =
      *new identity::TestPki(absl::StrCat(std::getenv("TEST_TMPDIR"), "/issuer-pki-", getpid()));
  return pki;
}

}  // namespace

struct TestIssuer::Server {
  asio::io_context io;
  asio::ssl::context tls{asio::ssl::context::tls_server};
  tcp::acceptor acceptor{io, tcp::endpoint(asio::ip::address_v4::loopback(), 0)};
};

TestIssuer::TestIssuer() : server_(std::make_unique<Server>()) {
  const config::v1::MutualTls files = Pki().Issue("issuer", {.addresses = {"127.0.0.1"}});
  server_->tls.use_certificate_chain_file(files.certificate_file());
  server_->tls.use_private_key_file(files.private_key_file(), asio::ssl::context::pem);
  thread_ = std::thread([this] { Run(); });
}

TestIssuer::~TestIssuer() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  // Its accept ends by one more.
  boost::system::error_code ignored;
  tcp::socket last(server_->io);
  last.connect(server_->acceptor.local_endpoint(), ignored);
  thread_.join();
}

std::string TestIssuer::url(const std::string& host) const {
  return absl::StrCat("https://", host, ":", server_->acceptor.local_endpoint().port(), "/keys");
}

std::string TestIssuer::ca_file() const { return Pki().ca_file(); }

void TestIssuer::Answer(const std::string& body, const std::string& status_line) {
  absl::MutexLock lock(&mutex_);
  body_ = body;
  status_line_ = status_line;
}

void TestIssuer::BeAway(bool away) {
  absl::MutexLock lock(&mutex_);
  away_ = away;
}

void TestIssuer::Hang(bool hangs) {
  absl::MutexLock lock(&mutex_);
  hangs_ = hangs;
}

int TestIssuer::asked() const {
  absl::MutexLock lock(&mutex_);
  return asked_;
}

void TestIssuer::Run() {
  while (true) {
    boost::system::error_code error;
    tcp::socket socket = server_->acceptor.accept(error);
    std::string answer;
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) return;
      if (error) continue;
      ++asked_;
      const auto goes_on = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return stopping_ || !hangs_;
      };
      mutex_.Await(absl::Condition(&goes_on));
      if (away_) continue;
      answer = absl::StrCat("HTTP/1.1 ", status_line_, "\r\nContent-Length: ", body_.size(),
                            "\r\nConnection: close\r\n\r\n", body_);
    }
    asio::ssl::stream<tcp::socket> stream(std::move(socket), server_->tls);
    stream.handshake(asio::ssl::stream_base::server, error);
    std::string request;
    if (!error) asio::read_until(stream, asio::dynamic_buffer(request), "\r\n\r\n", error);
    if (!error) asio::write(stream, asio::buffer(answer), error);
    if (!error) stream.shutdown(error);
  }
}

}  // namespace postern::auth::oauth
