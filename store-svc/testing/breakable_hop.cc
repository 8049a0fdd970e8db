#include "store-svc/testing/breakable_hop.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

namespace postern::store {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

}  // namespace

BreakableHop::BreakableHop(int server_port)
    : server_port_(server_port), listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(listener_, 16) != 0 ||
      getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    std::abort();
  }
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { Accept(); });
}

BreakableHop::~BreakableHop() {
  Break();
  acceptor_.join();
  for (std::thread& thread : threads_) thread.join();
  for (const int descriptor : sockets_) close(descriptor);
  close(listener_);
}

void BreakableHop::Break() {
  absl::MutexLock lock(&mutex_);
  broken_ = true;
  shutdown(listener_, SHUT_RDWR);
  for (const int descriptor : sockets_) shutdown(descriptor, SHUT_RDWR);
}

void BreakableHop::Accept() {
  for (;;) {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = Loopback(server_port_);
    const bool connected =
        connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    absl::MutexLock lock(&mutex_);
    if (!connected || broken_) {
      close(client);
      close(server);
      continue;
    }
    sockets_.push_back(client);
    sockets_.push_back(server);
    threads_.emplace_back([this, client, server] { Pass(client, server); });
    threads_.emplace_back([this, client, server] { Pass(server, client); });
  }
}

void BreakableHop::Pass(int from, int to) {
  char buffer[16 << 10];
  for (;;) {
    const ssize_t got = recv(from, buffer, sizeof(buffer), 0);
    if (got <= 0) break;
    for (ssize_t sent = 0; sent < got;) {
      const ssize_t more = send(to, buffer + sent, got - sent, MSG_NOSIGNAL);
      if (more <= 0) break;
      sent += more;
    }
  }
  shutdown(to, SHUT_RDWR);
}

}  // namespace postern::store
