// The load generator of `./dev bench`: the same clients against any SMTP and POP3 server. Blocking
// sockets, one thread per connection, no pipelining; every message is made from its id, so that
// what comes back can be compared octet by octet.
//
//   load smtp --messages N --octets S --accepted FILE [--kept] [--starttls]
//   load login --sessions N      POP3S: login, STAT, QUIT
//   load retr --sessions N       POP3S: login, RETR of up to 50, QUIT
//   load fetch --accepted FILE   POP3S: fetch, delete and compare all
//   load idle [--tls]            opens its connections, prints "ready", waits for end of input
//
// and each of them: [--host ADDRESS] --port P --connections C --users FILE, which has lines of
// "address password". Prints one JSON object; exit code 1 when anything was refused, lost or
// altered.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"

namespace {

using SteadyClock = std::chrono::steady_clock;

struct User {
  std::string address;
  std::string password;
};

struct Options {
  std::string host = "127.0.0.1";
  int port = 0;
  int connections = 20;
  int messages = 1000;
  int sessions = 1000;
  int octets = 4096;
  bool kept = false;
  bool starttls = false;
  bool tls = false;
  std::string users_file;
  std::string accepted_file;
  std::string tag = "run";
};

// What is sent: header and body from the id alone. Trace headers go above it, so it is a message's
// suffix.
std::string MakeMessage(const std::string& id, int octets) {
  std::string message =
      "X-Bench-Id: " + id +
      "\r\nFrom: <load@sender.test>\r\nTo: <anyone@example.test>\r\nSubject: " + id +
      "\r\nMessage-ID: <" + id + "@sender.test>\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\n";
  static constexpr char kAlphabet[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  uint64_t state = 0x9E3779B97F4A7C15u;
  for (const char c : id) state = (state ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  while (static_cast<int>(message.size()) < octets) {
    for (int i = 0; i < 76; ++i) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      message += kAlphabet[state >> 58];
    }
    message += "\r\n";
  }
  return message;
}

SSL_CTX* ClientContext() {
  static SSL_CTX* const context = [] {
    SSL_CTX* made = SSL_CTX_new(TLS_client_method());
    // Every session pays its own full handshake, as different clients do. The certificate is the
    // bench's own.
    SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(made, SSL_VERIFY_NONE, nullptr);
    return made;
  }();
  return context;
}

// A blocking connection that reads lines. Throws std::runtime_error on any failure.
class Client {
 public:
  explicit Client(const Options& options) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd_ < 0) throw std::runtime_error("socket");
    const int one = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    // A reset instead of TIME_WAIT is not how clients end; but a timeout that hangs the run is
    // worse than a failed one.
    const timeval patience = {60, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(options.port));
    inet_pton(AF_INET, options.host.c_str(), &address.sin_addr);
    if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
      close(fd_);
      throw std::runtime_error("connect");
    }
  }
  ~Client() {
    SSL_free(ssl_);
    close(fd_);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void StartTls() {
    ssl_ = SSL_new(ClientContext());
    SSL_set_fd(ssl_, fd_);
    if (SSL_connect(ssl_) != 1) throw std::runtime_error("TLS handshake");
  }

  void Write(const std::string& octets) {
    size_t done = 0;
    while (done < octets.size()) {
      const auto n =
          ssl_ != nullptr
              ? SSL_write(ssl_, octets.data() + done, static_cast<int>(octets.size() - done))
              : send(fd_, octets.data() + done, octets.size() - done, MSG_NOSIGNAL);
      if (n <= 0) throw std::runtime_error("write");
      done += static_cast<size_t>(n);
    }
  }

  // Without CRLF.
  std::string ReadLine() {
    while (true) {
      const size_t end = buffer_.find("\r\n", position_);
      if (end != std::string::npos) {
        std::string line = buffer_.substr(position_, end - position_);
        position_ = end + 2;
        return line;
      }
      buffer_.erase(0, position_);
      position_ = 0;
      char piece[16384];
      const auto n = ssl_ != nullptr ? SSL_read(ssl_, piece, sizeof(piece))
                                     : recv(fd_, piece, sizeof(piece), 0);
      if (n <= 0) throw std::runtime_error("connection lost");
      buffer_.append(piece, static_cast<size_t>(n));
    }
  }

  // One SMTP reply, all its lines; throws unless it has this code.
  void Expect(const std::string& code) {
    std::string line = ReadLine();
    while (line.size() > 3 && line[3] == '-') line = ReadLine();
    if (line.compare(0, 3, code) != 0)
      throw std::runtime_error("expected " + code + ", got " + line);
  }
  void Smtp(const std::string& command, const std::string& code) {
    Write(command + "\r\n");
    Expect(code);
  }
  std::string Pop(const std::string& command) {
    if (!command.empty()) Write(command + "\r\n");
    std::string line = ReadLine();
    if (line.compare(0, 3, "+OK") != 0)
      throw std::runtime_error(command.substr(0, 4) + ": " + line);
    return line;
  }
  // A multi-line POP3 answer, dots taken off.
  std::string ReadMultiline() {
    std::string text;
    for (std::string line = ReadLine(); line != "."; line = ReadLine()) {
      text.append(line, !line.empty() && line[0] == '.' ? 1 : 0);
      text += "\r\n";
    }
    return text;
  }

 private:
  int fd_ = -1;
  SSL* ssl_ = nullptr;
  std::string buffer_;
  size_t position_ = 0;
};

std::vector<User> ReadUsers(const std::string& file) {
  std::vector<User> users;
  std::ifstream in(file);
  User user;
  while (in >> user.address >> user.password) users.push_back(user);
  if (users.empty()) throw std::runtime_error("no users in " + file);
  return users;
}

// Runs `body(thread)` on each connection's thread; counts exceptions as failures and keeps the
// first one's text.
class Crew {
 public:
  template <typename Body>
  void Run(int connections, Body body) {
    const auto begin = SteadyClock::now();
    std::vector<std::thread> threads;
    for (int i = 0; i < connections; ++i) {
      threads.emplace_back([this, i, &body] { body(i); });
    }
    for (std::thread& thread : threads) thread.join();
    seconds = std::chrono::duration<double>(SteadyClock::now() - begin).count();
  }
  void Failed(const std::string& why) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (failures++ == 0) first_failure = why;
  }
  void Latency(double milliseconds) {
    std::lock_guard<std::mutex> lock(mutex_);
    latencies_.push_back(milliseconds);
  }
  double Percentile(double p) {
    if (latencies_.empty()) return 0;
    std::sort(latencies_.begin(), latencies_.end());
    return latencies_[static_cast<size_t>(p * static_cast<double>(latencies_.size() - 1))];
  }

  double seconds = 0;
  int failures = 0;
  std::string first_failure;

 private:
  std::mutex mutex_;
  std::vector<double> latencies_;
};

int Report(Crew& crew, const std::string& what, int count) {
  std::string why;
  for (const char c : crew.first_failure) {
    if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20) continue;
    why += c;
  }
  std::printf(
      "{\"%s\": %d, \"failed\": %d, \"seconds\": %.4f, \"per_second\": %.1f, \"p50_ms\": %.3f, "
      "\"p99_ms\": %.3f, "
      "\"first_failure\": \"%s\"}\n",
      what.c_str(), count, crew.failures, crew.seconds, count / std::max(crew.seconds, 1e-9),
      crew.Percentile(0.5), crew.Percentile(0.99), why.c_str());
  return crew.failures == 0 ? 0 : 1;
}

int Smtp(const Options& options) {
  const std::vector<User> users = ReadUsers(options.users_file);
  std::atomic<int> next = 0;
  std::atomic<int> accepted_count = 0;
  std::mutex accepted_mutex;
  std::ofstream accepted(options.accepted_file, std::ios::app);
  Crew crew;
  crew.Run(options.connections, [&](int) {
    std::unique_ptr<Client> client;
    for (int n = next++; n < options.messages; n = next++) {
      const std::string id = options.tag + "-" + std::to_string(n);
      const auto begin = SteadyClock::now();
      try {
        if (client == nullptr) {
          client = std::make_unique<Client>(options);
          client->Expect("220");
          client->Smtp("EHLO load.sender.test", "250");
          if (options.starttls) {
            client->Smtp("STARTTLS", "220");
            client->StartTls();
            client->Smtp("EHLO load.sender.test", "250");
          }
        }
        client->Smtp("MAIL FROM:<load@sender.test>", "250");
        client->Smtp("RCPT TO:<" + users[static_cast<size_t>(n) % users.size()].address + ">",
                     "250");
        client->Smtp("DATA", "354");
        client->Write(MakeMessage(id, options.octets) + ".\r\n");
        client->Expect("250");
        ++accepted_count;
        {
          std::lock_guard<std::mutex> lock(accepted_mutex);
          accepted << id << ' ' << options.octets << '\n';
        }
        if (!options.kept) {
          client->Smtp("QUIT", "221");
          client.reset();
        }
        crew.Latency(std::chrono::duration<double, std::milli>(SteadyClock::now() - begin).count());
      } catch (const std::exception& e) {
        crew.Failed(e.what());
        client.reset();
      }
    }
  });
  return Report(crew, "accepted", accepted_count);
}

std::unique_ptr<Client> LogIn(const Options& options, const User& user) {
  auto client = std::make_unique<Client>(options);
  client->StartTls();
  client->Pop("");
  client->Pop("USER " + user.address);
  client->Pop("PASS " + user.password);
  return client;
}

int Login(const Options& options, bool retrieve) {
  const std::vector<User> users = ReadUsers(options.users_file);
  if (static_cast<int>(users.size()) < options.connections)
    throw std::runtime_error("fewer users than connections");
  std::atomic<int> next = 0;
  std::atomic<int> sessions = 0;
  std::atomic<int> messages = 0;
  Crew crew;
  crew.Run(options.connections, [&](int thread) {
    while (next++ < options.sessions) {
      const auto begin = SteadyClock::now();
      try {
        const std::unique_ptr<Client> client = LogIn(options, users[static_cast<size_t>(thread)]);
        const int count = std::atoi(client->Pop("STAT").c_str() + 4);
        for (int i = 1; retrieve && i <= std::min(count, 50); ++i) {
          client->Pop("RETR " + std::to_string(i));
          client->ReadMultiline();
          ++messages;
        }
        client->Pop("QUIT");
        ++sessions;
        crew.Latency(std::chrono::duration<double, std::milli>(SteadyClock::now() - begin).count());
      } catch (const std::exception& e) {
        crew.Failed(e.what());
      }
    }
  });
  return Report(crew, retrieve ? "retrieved" : "sessions", retrieve ? messages : sessions);
}

// Everything accepted must be there once, octet by octet, and nothing else.
int Fetch(const Options& options) {
  const std::vector<User> users = ReadUsers(options.users_file);
  std::map<std::string, int> expected;
  std::ifstream in(options.accepted_file);
  std::string id;
  int octets = 0;
  while (in >> id >> octets) expected[id] = octets;
  std::mutex mutex;
  std::set<std::string> seen;
  std::atomic<size_t> next = 0;
  std::atomic<int> fetched = 0;
  Crew crew;
  crew.Run(std::min(options.connections, static_cast<int>(users.size())), [&](int) {
    for (size_t n = next++; n < users.size(); n = next++) {
      try {
        const std::unique_ptr<Client> client = LogIn(options, users[n]);
        const int count = std::atoi(client->Pop("STAT").c_str() + 4);
        for (int i = 1; i <= count; ++i) {
          client->Pop("RETR " + std::to_string(i));
          const std::string message = client->ReadMultiline();
          client->Pop("DELE " + std::to_string(i));
          ++fetched;
          const size_t begin = message.find("X-Bench-Id: ");
          if (begin == std::string::npos) {
            crew.Failed("a message without X-Bench-Id");
            continue;
          }
          const std::string found =
              message.substr(begin + 12, message.find("\r\n", begin) - begin - 12);
          std::lock_guard<std::mutex> lock(mutex);
          const auto it = expected.find(found);
          if (it == expected.end()) {
            crew.Failed("never accepted: " + found);
          } else if (!seen.insert(found).second) {
            crew.Failed("twice: " + found);
          } else if (message.compare(begin, std::string::npos, MakeMessage(found, it->second)) !=
                     0) {
            crew.Failed("altered: " + found);
          }
        }
        client->Pop("QUIT");
      } catch (const std::exception& e) {
        crew.Failed(e.what());
      }
    }
  });
  if (seen.size() != expected.size()) {
    crew.Failed("lost: " + std::to_string(expected.size() - seen.size()) + " of " +
                std::to_string(expected.size()));
  }
  return Report(crew, "fetched", fetched);
}

int Idle(const Options& options) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < options.connections; ++i) {
    clients.push_back(std::make_unique<Client>(options));
    if (options.tls) clients.back()->StartTls();
    clients.back()->ReadLine();
  }
  std::cout << "ready" << std::endl;
  std::string line;
  std::getline(std::cin, line);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  Options options;
  CLI::App app("Load for SMTP and POP3 servers");
  app.require_subcommand(1);
  const auto add = [&](const char* name, const char* what) {
    CLI::App* command = app.add_subcommand(name, what);
    command->add_option("--host", options.host, "an IPv4 address")->check(CLI::ValidIPV4);
    command->add_option("--port", options.port)->required()->check(CLI::Range(1, 65535));
    command->add_option("--connections", options.connections)->check(CLI::Range(1, 20000));
    return command;
  };
  CLI::App* smtp = add("smtp", "send messages");
  smtp->add_option("--messages", options.messages)->check(CLI::Range(1, 10000000));
  smtp->add_option("--octets", options.octets)->check(CLI::Range(256, 50 << 20));
  smtp->add_option("--users", options.users_file)->required();
  smtp->add_option("--accepted", options.accepted_file)->required();
  smtp->add_option("--tag", options.tag, "start of every id; unique in a run");
  smtp->add_flag("--kept", options.kept, "one connection for all messages of a thread");
  smtp->add_flag("--starttls", options.starttls);
  CLI::App* login = add("login", "POP3S login, STAT, QUIT");
  CLI::App* retr = add("retr", "POP3S login, RETR of up to 50, QUIT");
  for (CLI::App* command : {login, retr}) {
    command->add_option("--sessions", options.sessions)->check(CLI::Range(1, 10000000));
    command->add_option("--users", options.users_file)->required();
  }
  CLI::App* fetch = add("fetch", "fetch, delete and compare everything that was accepted");
  fetch->add_option("--users", options.users_file)->required();
  fetch->add_option("--accepted", options.accepted_file)->required();
  CLI::App* idle = add("idle", "open connections and wait");
  idle->add_flag("--tls", options.tls, "TLS from the first octet");
  CLI11_PARSE(app, argc, argv);
  try {
    if (smtp->parsed()) return Smtp(options);
    if (fetch->parsed()) return Fetch(options);
    if (idle->parsed()) return Idle(options);
    return Login(options, retr->parsed());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "load: %s\n", e.what());
    return 2;
  }
}
