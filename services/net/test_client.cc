#include "services/net/test_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "absl/strings/match.h"
#include "openssl/err.h"
#include "openssl/ssl.h"
#include "openssl/x509.h"

namespace postern::net {

TestClient::TestClient(int port, const std::string& address) {
  std::signal(SIGPIPE, SIG_IGN);
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  const bool is_v6 = absl::StrContains(address, ":");
  inet_pton(is_v6 ? AF_INET6 : AF_INET, address.c_str(),
            is_v6 ? static_cast<void*>(&v6.sin6_addr) : &v4.sin_addr);
  descriptor_ = ::socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(descriptor_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  const timeval patience{20, 0};
  ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  ::setsockopt(descriptor_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  const sockaddr* to =
      is_v6 ? reinterpret_cast<const sockaddr*>(&v6) : reinterpret_cast<const sockaddr*>(&v4);
  if (::connect(descriptor_, to, is_v6 ? sizeof(v6) : sizeof(v4)) != 0) {
    ::close(std::exchange(descriptor_, -1));
  }
}

TestClient::~TestClient() {
  SSL_free(ssl_);
  SSL_CTX_free(context_);
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool TestClient::StartTls(int max_version, const char* ciphers) {
  context_ = SSL_CTX_new(TLS_client_method());
  // Old versions are for us to offer and for the server to refuse.
  SSL_CTX_set_security_level(context_, 0);
  SSL_CTX_set_min_proto_version(context_, TLS1_VERSION);
  if (max_version != 0) SSL_CTX_set_max_proto_version(context_, max_version);
  if (ciphers != nullptr) SSL_CTX_set_cipher_list(context_, ciphers);
  ssl_ = SSL_new(context_);
  SSL_set_fd(ssl_, descriptor_);
  const bool ok = SSL_connect(ssl_) == 1;
  ERR_clear_error();
  return ok;
}

bool TestClient::Send(absl::string_view octets) {
  while (!octets.empty()) {
    const ssize_t sent = ssl_ != nullptr
                             ? SSL_write(ssl_, octets.data(), static_cast<int>(octets.size()))
                             : ::send(descriptor_, octets.data(), octets.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    octets.remove_prefix(sent);
  }
  return true;
}

void TestClient::FinishSending() {
  if (ssl_ != nullptr) SSL_shutdown(ssl_);
  ::shutdown(descriptor_, SHUT_WR);
}

bool TestClient::Fill() {
  char piece[4096];
  errno = 0;
  const ssize_t got = ssl_ != nullptr ? SSL_read(ssl_, piece, sizeof(piece))
                                      : ::recv(descriptor_, piece, sizeof(piece), 0);
  if (got <= 0) {
    reset_ = errno == ECONNRESET;
    ERR_clear_error();
    return false;
  }
  buffer_.append(piece, got);
  return true;
}

std::string TestClient::ReadLine() {
  size_t end;
  while ((end = buffer_.find("\r\n")) == std::string::npos) {
    if (!Fill()) return "";
  }
  std::string line = buffer_.substr(0, end + 2);
  buffer_.erase(0, end + 2);
  return line;
}

std::string TestClient::ReadReply() {
  std::string reply;
  while (true) {
    const std::string line = ReadLine();
    reply += line;
    if (line.size() < 4 || line[3] != '-') return reply;
  }
}

std::string TestClient::Read(size_t octets) {
  while (buffer_.size() < octets && Fill()) {
  }
  std::string got = buffer_.substr(0, octets);
  buffer_.erase(0, got.size());
  return got;
}

std::string TestClient::ReadToEnd() {
  while (Fill()) {
  }
  return std::exchange(buffer_, std::string());
}

std::string TestClient::PeerName() const {
  X509* certificate = SSL_get1_peer_certificate(ssl_);
  char name[256] = "";
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name, sizeof(name));
  X509_free(certificate);
  return name;
}

}  // namespace postern::net
