#include "relay-svc/smtp/scripted_server.h"

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "boost/asio/ip/tcp.hpp"

namespace postern::relay {
namespace {

// One blocking connection.
class Peer {
 public:
  explicit Peer(int fd) : fd_(fd) {}
  ~Peer() {
    if (ssl_ != nullptr) SSL_free(ssl_);
    close(fd_);
  }

  bool StartTls(SSL_CTX* context) {
    ssl_ = SSL_new(context);
    SSL_set_fd(ssl_, fd_);
    return SSL_accept(ssl_) == 1;
  }
  void Send(absl::string_view octets) {
    if (ssl_ != nullptr) {
      SSL_write(ssl_, octets.data(), static_cast<int>(octets.size()));
    } else {
      (void)!write(fd_, octets.data(), octets.size());
    }
  }
  bool ReadLine(std::string* line) {
    while (true) {
      const size_t end = buffer_.find("\r\n");
      if (end != std::string::npos) {
        *line = buffer_.substr(0, end);
        buffer_.erase(0, end + 2);
        return true;
      }
      char octets[65536];
      const ssize_t n = ssl_ != nullptr ? SSL_read(ssl_, octets, sizeof(octets))
                                        : read(fd_, octets, sizeof(octets));
      if (n <= 0) return false;
      buffer_.append(octets, static_cast<size_t>(n));
    }
  }

 private:
  const int fd_;
  SSL* ssl_ = nullptr;
  std::string buffer_;
};

// "250 a\n250 b" or "250-a\n250 b".
std::string Wire(const std::string& reply) {
  return absl::StrCat(absl::StrReplaceAll(reply, {{"\n", "\r\n"}}), "\r\n");
}

}  // namespace

ScriptedServer::ScriptedServer(Options options) : options_(std::move(options)) {
  std::signal(SIGPIPE, SIG_IGN);
  if (!options_.certificate_file.empty()) {
    tls_ = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(tls_, options_.certificate_file.c_str()) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls_, options_.private_key_file.c_str(), SSL_FILETYPE_PEM) !=
            1) {
      std::abort();
    }
  }
  const boost::asio::ip::tcp::endpoint endpoint(boost::asio::ip::make_address(options_.address),
                                                static_cast<unsigned short>(options_.port));
  listener_ = socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(listener_, endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0 ||
      listen(listener_, 100) != 0) {
    std::abort();
  }
  boost::asio::ip::tcp::endpoint bound;
  socklen_t size = static_cast<socklen_t>(bound.capacity());
  getsockname(listener_, bound.data(), &size);
  port_ = bound.port();
  accepting_ = std::thread([this] { Accept(); });
}

ScriptedServer::~ScriptedServer() {
  shutdown(listener_, SHUT_RDWR);
  accepting_.join();
  close(listener_);
  std::list<std::thread> sessions;
  {
    absl::MutexLock lock(&mutex_);
    sessions.swap(sessions_);
  }
  for (std::thread& session : sessions) session.join();
  if (tls_ != nullptr) SSL_CTX_free(tls_);
}

ScriptedServer::Seen ScriptedServer::seen() const {
  absl::MutexLock lock(&mutex_);
  return seen_;
}

int ScriptedServer::Count(const std::string& command_start) const {
  absl::MutexLock lock(&mutex_);
  int count = 0;
  for (const std::string& command : seen_.commands) {
    count += absl::StartsWithIgnoreCase(command, command_start);
  }
  return count;
}

void ScriptedServer::Accept() {
  while (true) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    absl::MutexLock lock(&mutex_);
    ++seen_.sessions;
    sessions_.emplace_back([this, fd] { Serve(fd); });
  }
}

void ScriptedServer::Serve(int fd) {
  Peer peer(fd);
  bool secure = false;
  int messages = 0;
  int recipients = 0;
  bool has_sender = false;
  int accepted = 0;
  const auto reply_to = [&](const std::string& command) -> std::string {
    if (absl::StartsWithIgnoreCase(command, "MAIL")) {
      recipients = 0;
      if (options_.messages_per_session > 0 && messages >= options_.messages_per_session) {
        return options_.another;
      }
    }
    for (const auto& [start, reply] : options_.replies) {
      if (absl::StartsWithIgnoreCase(command, start)) return reply;
    }
    if (command == "CONNECT") return "220 scripted ESMTP";
    if (absl::StartsWithIgnoreCase(command, "DATA")) {
      return accepted > 0 ? "354 go on" : "554 5.5.1 no valid recipients";
    }
    if (absl::StartsWithIgnoreCase(command, "QUIT")) return "221 2.0.0 bye";
    if (absl::StartsWithIgnoreCase(command, "STARTTLS")) return "220 2.0.0 go on";
    if (absl::StartsWithIgnoreCase(command, "EHLO")) {
      std::vector<std::string> lines = {"250-scripted"};
      for (const std::string& extension : options_.extensions) {
        lines.push_back(absl::StrCat("250-", extension));
      }
      if (tls_ != nullptr && !secure) lines.push_back("250-STARTTLS");
      lines.push_back("250 ENHANCEDSTATUSCODES");
      return absl::StrJoin(lines, "\n");
    }
    if (absl::StartsWithIgnoreCase(command, "RCPT") && options_.recipients_per_transaction > 0 &&
        ++recipients > options_.recipients_per_transaction) {
      return options_.too_many;
    }
    return "250 2.0.0 yes";
  };

  std::string command = "CONNECT";
  do {
    const std::string reply = reply_to(command);
    if (absl::StartsWithIgnoreCase(command, "MAIL")) {
      has_sender = reply[0] == '2';
      accepted = 0;
    }
    if (absl::StartsWithIgnoreCase(command, "RCPT") && has_sender && reply[0] == '2') ++accepted;
    if (command != "CONNECT") {
      absl::MutexLock lock(&mutex_);
      seen_.commands.push_back(command);
    }
    if (reply == "DROP") return;
    peer.Send(Wire(reply == "DROP-IN-BODY" ? "354 go on" : reply));
    if (absl::StartsWithIgnoreCase(command, "STARTTLS") && absl::StartsWith(reply, "220")) {
      if (tls_ == nullptr || !peer.StartTls(tls_)) return;
      secure = true;
      absl::MutexLock lock(&mutex_);
      ++seen_.tls_sessions;
    }
    if (absl::StartsWith(reply, "354") || reply == "DROP-IN-BODY") {
      std::string body, line;
      bool ended = false;
      while (!ended && peer.ReadLine(&line)) {
        if (reply == "DROP-IN-BODY") return;
        ended = line == ".";
        if (!ended) absl::StrAppend(&body, line[0] == '.' ? line.substr(1) : line, "\r\n");
      }
      if (!ended) return;
      {
        absl::MutexLock lock(&mutex_);
        seen_.bodies.push_back(body);
        ++messages;
      }
      const std::string verdict = reply_to("BODY");
      if (verdict == "DROP") return;
      peer.Send(Wire(verdict));
    }
    if (absl::StartsWith(reply, "221") || absl::StartsWith(reply, "421")) return;
  } while (peer.ReadLine(&command));
}

}  // namespace postern::relay
