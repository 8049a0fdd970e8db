// A real process (service_main_fixture.cc), its flags, its HTTP port and its signals.
#include <fcntl.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "services/identity/test_pki.h"

extern char** environ;

namespace postern::process {
namespace {

constexpr char kBinary[] = "services/process/service_main_fixture";

std::string Read(const std::string& file) {
  std::ifstream in(file);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

// Started by the constructor, ended by the destructor at the latest.
class Process {
 public:
  explicit Process(std::vector<std::string> arguments) {
    out_ = absl::StrCat(testing::TempDir(), "/out", ++count_);
    err_ = absl::StrCat(testing::TempDir(), "/err", count_);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    const int flags = O_CREAT | O_TRUNC | O_WRONLY;
    posix_spawn_file_actions_addopen(&actions, 1, out_.c_str(), flags, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, err_.c_str(), flags, 0600);
    arguments.insert(arguments.begin(), kBinary);
    std::vector<char*> argv;
    for (std::string& argument : arguments) {
      argv.push_back(argument.data());
    }
    argv.push_back(nullptr);
    if (posix_spawn(&pid_, kBinary, &actions, nullptr, argv.data(), environ) != 0) pid_ = -1;
    EXPECT_GT(pid_, 0) << kBinary;
    posix_spawn_file_actions_destroy(&actions);
  }
  ~Process() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }

  void Signal(int signal) const {
    // kill(-1) would be every process of the machine.
    ASSERT_GT(pid_, 0);
    kill(pid_, signal);
  }
  // The exit code; -1 when a signal ended it.
  int Wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string out() const { return Read(out_); }
  std::string err() const { return Read(err_); }

  bool EventuallyLogs(absl::string_view text) const {
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (!absl::StrContains(err(), text)) {
      if (absl::Now() > deadline) {
        ADD_FAILURE() << "no " << text << " in " << err();
        return false;
      }
      absl::SleepFor(absl::Milliseconds(5));
    }
    return true;
  }

  int HttpPort() const {
    EventuallyLogs("http listening");
    const std::string log = err();
    const std::string mark = "\"port\":";
    int port = 0;
    const size_t at = log.find(mark) + mark.size();
    EXPECT_TRUE(absl::SimpleAtoi(log.substr(at, log.find('}', at) - at), &port)) << log;
    return port;
  }

 private:
  static int count_;
  pid_t pid_ = -1;
  std::string out_;
  std::string err_;
};
int Process::count_ = 0;

std::string Config(absl::string_view mode, absl::string_view more = "") {
  static int count = 0;
  std::string file = absl::StrCat(testing::TempDir(), "/config", ++count, ".yaml");
  const std::string keys = absl::StrCat(testing::TempDir(), "/keys");
  // RFC 8410, 10.1.
  std::ofstream(keys) << "-----BEGIN PUBLIC KEY-----\n"
                         "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
                         "-----END PUBLIC KEY-----\n";
  std::ofstream(file) << "database_file: " << mode << "\ntoken_verification_keys_file: " << keys
                      << "\n"
                      << more;
  return file;
}

class Connection {
 public:
  explicit Connection(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval timeout{.tv_sec = 20};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~Connection() { close(fd_); }
  bool connected() const { return connected_; }
  void Send(absl::string_view text) const { send(fd_, text.data(), text.size(), MSG_NOSIGNAL); }
  // Until the server closes.
  std::string ReadAll() const {
    std::string all;
    char buffer[4096];
    ssize_t n = 0;
    while ((n = recv(fd_, buffer, sizeof(buffer), 0)) > 0) {
      all.append(buffer, static_cast<size_t>(n));
    }
    return all;
  }

 private:
  const int fd_;
  bool connected_;
};

std::string Ask(int port, absl::string_view request) {
  const Connection connection(port);
  connection.Send(request);
  return connection.ReadAll();
}

std::string Get(int port, absl::string_view path) {
  return Ask(port, absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
}

TEST(ServiceMainTest, ChecksAConfigurationAndNothingElse) {
  const identity::TestPki pki(testing::TempDir() + "/pki");
  const config::v1::MutualTls tls = pki.IssueIdentity("store-svc");
  const std::string file =
      Config("quick", absl::StrCat("process: {mtls: {certificate_file: ", tls.certificate_file(),
                                   ", private_key_file: ", tls.private_key_file(),
                                   ", ca_file: ", tls.ca_file(), "}}\n"));
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--check-config", file},
        std::vector<std::string>{"--config", file, "--check-config"}}) {
    Process good(arguments);
    EXPECT_EQ(good.Wait(), 0);
    EXPECT_TRUE(absl::StrContains(good.out(), ": good\n")) << good.out();
  }
}

TEST(ServiceMainTest, AWrongConfigurationIsOneClearLineAndExitCode2) {
  const struct {
    std::string mode;
    std::string more;
    std::string message;
  } cases[] = {
      {"quick", "quota_octet: 1\n", ":3: quota_octet: unknown key; did you mean quota_octets?\n"},
      {"quick", "process: {log_level: loud}\n",
       ": process.log_level: found \"loud\", expected one of debug, info, warning, error\n"},
      {"refused", "", ": database_file: is refused\n"},
  };
  for (const auto& c : cases) {
    const std::string file = Config(c.mode, c.more);
    for (const char* flag : {"--config", "--check-config", "--print-config"}) {
      Process bad({flag, file});
      EXPECT_EQ(bad.Wait(), 2);
      EXPECT_EQ(bad.err(), absl::StrCat("fixture: ", file, c.message));
      EXPECT_EQ(bad.out(), "");
    }
  }
}

// Each with the line that names it.
TEST(ServiceMainTest, CheckConfigOpensTheFiles) {
  const std::string file = Config("quick",
                                  "process:\n"
                                  "  mtls:\n"
                                  "    certificate_file: /nowhere/a.pem\n"
                                  "    private_key_file: /nowhere/a.key\n"
                                  "    ca_file: /nowhere/ca.pem\n");
  Process bad({"--check-config", file});
  EXPECT_EQ(bad.Wait(), 2);
  EXPECT_EQ(bad.err(),
            absl::StrCat("fixture: ", file, ":5: process.mtls.certificate_file: /nowhere/a.pem: ",
                         "cannot be read: No such file or directory\n"));
  EXPECT_EQ(bad.out(), "");
}

// Of a setting that only the start finds wrong, too.
TEST(ServiceMainTest, WhatCannotStartNamesTheLine) {
  const std::string file = Config("misplaced");
  Process bad({"--config", file});
  EXPECT_EQ(bad.Wait(), 1);
  EXPECT_TRUE(absl::StrContains(bad.err(), absl::StrCat(file, ":1: database_file: is on fire")))
      << bad.err();
}

TEST(ServiceMainTest, AWrongCommandLineIsExitCode2) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{}, std::vector<std::string>{"--nothing"},
        std::vector<std::string>{"--config"}, std::vector<std::string>{"--config", "/nowhere"},
        std::vector<std::string>{"--config", Config("quick"), "stray"},
        std::vector<std::string>{"--config", Config("quick"), "--log-format", "xml"}}) {
    Process bad(arguments);
    EXPECT_EQ(bad.Wait(), 2) << bad.err();
    EXPECT_NE(bad.err(), "");
  }
  for (const char* flag : {"--help", "--version"}) {
    Process good({flag});
    EXPECT_EQ(good.Wait(), 0);
    EXPECT_NE(good.out(), "");
  }
}

TEST(ServiceMainTest, CopiesFromTheOneConfigurationToTheOther) {
  const std::string quick = Config("quick");
  const std::string other = Config("other");
  const std::string refused = Config("refused");
  const struct {
    std::vector<std::string> arguments;
    int code;
    std::string out;
    std::string err;
  } cases[] = {
      {{"--config", quick, "--from", other}, 0, "other to quick\n", "fixture: copying\n"},
      {{"--config", Config("fail"), "--from", other}, 1, "", "fixture: there is no room\n"},
      {{"--config", quick, "--from", refused},
       2,
       "",
       absl::StrCat("fixture: ", refused, ": database_file: is refused\n")},
      {{"--config", refused, "--from", quick},
       2,
       "",
       absl::StrCat("fixture: ", refused, ": database_file: is refused\n")},
  };
  for (const auto& c : cases) {
    std::vector<std::string> arguments = {"copy-database"};
    arguments.insert(arguments.end(), c.arguments.begin(), c.arguments.end());
    Process copy(arguments);
    EXPECT_EQ(copy.Wait(), c.code);
    EXPECT_EQ(copy.out(), c.out);
    EXPECT_EQ(copy.err(), c.err);
  }
  Process unnamed({"copy-database", "--config", quick});
  EXPECT_EQ(unnamed.Wait(), 2);
  EXPECT_TRUE(absl::StrContains(unnamed.err(), "--from is required")) << unnamed.err();
  Process help({"copy-database", "--help"});
  EXPECT_EQ(help.Wait(), 0);
  EXPECT_TRUE(absl::StrContains(help.out(), "--from FILE")) << help.out();
}

TEST(ServiceMainTest, PrintsTheEffectiveConfiguration) {
  Process print({"--print-config", Config("quick", "quota_messages: 7\n")});
  EXPECT_EQ(print.Wait(), 0);
  EXPECT_TRUE(absl::StrContains(print.out(), "\nquota_messages: 7\n")) << print.out();
  EXPECT_TRUE(absl::StrContains(print.out(), "\nlease_grace_seconds: 10\n")) << print.out();
}

TEST(ServiceMainTest, AMigrationWaitsForItsServerWhenAsked) {
  const std::string away = absl::StrCat(testing::TempDir(), "/comes-later");
  const std::string config = Config(away);
  Process impatient({"migrate", "--config", config});
  EXPECT_EQ(impatient.Wait(), 1);
  EXPECT_EQ(impatient.err(), "fixture: is away\n");

  Process waits({"migrate", "--config", config, "--wait", "60"});
  waits.EventuallyLogs("fixture: waits: is away");
  std::ofstream(away) << "there";
  EXPECT_EQ(waits.Wait(), 0);
  EXPECT_EQ(waits.out(), away + "\n");

  Process interrupted({"migrate", "--config", Config("/nonexistent"), "--wait", "3600"});
  interrupted.EventuallyLogs("fixture: waits: is away");
  interrupted.Signal(SIGTERM);
  EXPECT_EQ(interrupted.Wait(), -1);

  EXPECT_EQ(Process({"migrate", "--config", config, "--wait", "3601"}).Wait(), 2);
}

TEST(ServiceMainTest, WhatCannotStartSaysWhyAndIsExitCode1) {
  Process fail({"--config", Config("fail")});
  EXPECT_EQ(fail.Wait(), 1);
  EXPECT_TRUE(absl::StrContains(fail.err(),
                                "\"event\":\"could not start\",\"why\":\"the database "
                                "can't be opened\""))
      << fail.err();
  Process first({"--config", Config("quick")});
  const int port = first.HttpPort();
  for (const std::string& http :
       {absl::StrCat("{port: ", port, "}"), std::string("{address: 192.0.2.1}"),
        std::string("{address: x}")}) {
    Process second({"--config", Config("quick", absl::StrCat("process: {http: ", http, "}\n"))});
    EXPECT_EQ(second.Wait(), 1);
    EXPECT_TRUE(absl::StrContains(second.err(), "process.http: cannot listen on")) << second.err();
  }
  Process ports({"--config", Config("quick", "process: {ports_file: /nowhere/ports}\n")});
  EXPECT_EQ(ports.Wait(), 1);
  EXPECT_TRUE(absl::StrContains(ports.err(), "process.ports_file: /nowhere/ports")) << ports.err();
}

TEST(ServiceMainTest, ServesHealthAndMetricsThenDrains) {
  for (int signal : {SIGTERM, SIGINT}) {
    const std::string ports_file = absl::StrCat(testing::TempDir(), "/ports.json");
    Process process(
        {"--config", Config("quick", absl::StrCat("process: {ports_file: ", ports_file, "}\n"))});
    process.EventuallyLogs("\"event\":\"started\"");
    const int port = process.HttpPort();
    EXPECT_EQ(Read(ports_file), absl::StrCat("{\"http\": ", port,
                                             ", \"rpc\": 1234, \"listeners\": {\"mx \\\"1\\\"\": "
                                             "25}}\n"));
    EXPECT_TRUE(absl::StartsWith(Get(port, "/livez"), "HTTP/1.1 200 "));
    EXPECT_TRUE(absl::StartsWith(Get(port, "/readyz?verbose"), "HTTP/1.1 200 "));
    EXPECT_TRUE(absl::StrContains(Get(port, "/metrics"), "\nprocess_cpu_seconds_total "));
    EXPECT_TRUE(absl::StartsWith(Get(port, "/"), "HTTP/1.1 404 "));
    process.Signal(signal);
    EXPECT_EQ(process.Wait(), 0);
    EXPECT_TRUE(absl::StrContains(process.err(), "\"event\":\"draining\"")) << process.err();
    EXPECT_TRUE(absl::StrContains(process.err(), "\"event\":\"stopped\"")) << process.err();
    EXPECT_NE(access(ports_file.c_str(), F_OK), 0);
  }
}

TEST(ServiceMainTest, NotReadySaysWhy) {
  Process process({"--config", Config("unready")});
  process.EventuallyLogs("\"event\":\"started\"");
  const std::string answer = Get(process.HttpPort(), "/readyz");
  EXPECT_TRUE(absl::StartsWith(answer, "HTTP/1.1 503 ")) << answer;
  EXPECT_TRUE(absl::EndsWith(answer, "\r\n\r\nthe database is away\n")) << answer;
  EXPECT_TRUE(absl::StartsWith(Get(process.HttpPort(), "/livez"), "HTTP/1.1 200 "));
}

TEST(ServiceMainTest, WhileItDrainsItIsAliveAndNotReadyAndASecondSignalEndsIt) {
  Process process({"--config", Config("hang")});
  process.EventuallyLogs("\"event\":\"started\"");
  const int port = process.HttpPort();
  process.Signal(SIGTERM);
  process.EventuallyLogs("\"event\":\"draining\"");
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (!absl::StrContains(Get(port, "/readyz"), "\r\n\r\ndraining\n") && absl::Now() < deadline) {
  }
  EXPECT_TRUE(absl::StartsWith(Get(port, "/readyz"), "HTTP/1.1 503 "));
  EXPECT_TRUE(absl::StartsWith(Get(port, "/livez"), "HTTP/1.1 200 "));
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait(), 1);
  EXPECT_TRUE(absl::StrContains(process.err(), "second signal")) << process.err();
}

TEST(ServiceMainTest, HostileHttpIsTurnedAwayAndTheNextRequestAnswered) {
  Process process({"--config", Config("quick")});
  process.EventuallyLogs("\"event\":\"started\"");
  const int port = process.HttpPort();
  const std::string end = " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  const struct {
    std::string request;
    std::string answer;  // how it starts; "" is no answer at all
  } cases[] = {
      {"POST /livez" + end, "HTTP/1.1 405 "},
      {"DELETE /metrics" + end, "HTTP/1.1 405 "},
      {"HEAD /livez" + end, "HTTP/1.1 200 "},
      {"GET /../../etc/passwd" + end, "HTTP/1.1 404 "},
      {"GET http://x/livez" + end, "HTTP/1.1 404 "},
      {"GET /" + std::string(20000, 'a') + end, ""},
      {"GET / HTTP/1.1\r\nX: " + std::string(20000, 'a') + "\r\n\r\n", ""},
      {"GET / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", ""},
      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ""},
      {std::string(50000, '\0'), ""},
      {"GET /livez HTTP/9.9\r\n\r\n", ""},
  };
  for (const auto& c : cases) {
    const std::string answer = Ask(port, c.request);
    EXPECT_EQ(answer.substr(0, c.answer.empty() ? std::string::npos : c.answer.size()), c.answer)
        << c.request.substr(0, 40);
  }
  // More connections than it takes, all of them silent: it closes the newest at once.
  std::vector<std::unique_ptr<Connection>> silent;
  for (int i = 0; i < 80; ++i) {
    silent.push_back(std::make_unique<Connection>(port));
  }
  EXPECT_EQ(silent.back()->ReadAll(), "");
  silent.clear();
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (!absl::StartsWith(Get(port, "/livez"), "HTTP/1.1 200 ")) {
    ASSERT_LT(absl::Now(), deadline);
  }
}

TEST(ServiceMainTest, ManyRequestsOnOneConnection) {
  Process process({"--config", Config("quick")});
  process.EventuallyLogs("\"event\":\"started\"");
  std::string requests;
  for (int i = 0; i < 100; ++i) {
    absl::StrAppend(&requests, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
  }
  absl::StrAppend(&requests, "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string answers = Ask(process.HttpPort(), requests);
  int count = 0;
  for (size_t at = answers.find("HTTP/1.1 200 "); at != std::string::npos;
       at = answers.find("HTTP/1.1 200 ", at + 1)) {
    ++count;
  }
  EXPECT_EQ(count, 101);
}

// Threads of gRPC's may be in a handshake then.
TEST(ServiceMainTest, OpenSslIsNotTakenDownAtTheEnd) {
  Process process({"--config", Config("quick")});
  process.EventuallyLogs("\"event\":\"started\"");
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait(), 0);
  EXPECT_FALSE(absl::StrContains(process.err(), "OpenSSL is taken down")) << process.err();
}

TEST(ServiceMainTest, LogsTextForPeople) {
  Process process({"--config", Config("quick"), "--log-format=text"});
  process.EventuallyLogs(" INFO fixture: started version=");
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait(), 0);
}

}  // namespace
}  // namespace postern::process
