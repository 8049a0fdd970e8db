#include "services/storage/testing/server_process.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

extern char** environ;

namespace postern::storage {

void Check(bool good, absl::string_view what) {
  if (good) return;
  std::fprintf(stderr, "test server: %s\n", std::string(what).c_str());
  std::abort();
}

pid_t Spawn(std::vector<std::string> arguments, const std::string& log,
            const std::string& end_signal, const std::string& user) {
  std::vector<std::string> all = {"setpriv", "--pdeathsig", end_signal};
  if (!user.empty()) {
    all.insert(all.end(), {"--reuid", user, "--regid", user, "--clear-groups"});
  }
  all.push_back("--");
  all.insert(all.end(), arguments.begin(), arguments.end());
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  const int flags = O_CREAT | O_APPEND | O_WRONLY;
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), flags, 0644);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  std::vector<char*> argv;
  for (std::string& argument : all) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t pid = -1;
  Check(posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ) == 0, argv[0]);
  posix_spawn_file_actions_destroy(&actions);
  return pid;
}

void Suspend(pid_t pid) {
  Check(pid > 0 && kill(pid, SIGSTOP) == 0, "not running");
  // Of proc(5): the state stands behind the name, which may have parentheses of its own. Z and X:
  // ended.
  const auto still = [](const std::filesystem::path& task) {
    const std::string stat = Contents(task / "stat");
    const size_t name_end = stat.rfind(')');
    return name_end == std::string::npos || absl::StrContains("TZX", stat[name_end + 2]);
  };
  const std::string tasks = absl::StrCat("/proc/", pid, "/task");
  for (bool all = false; !all;) {
    std::error_code gone;
    all = true;
    for (const auto& task : std::filesystem::directory_iterator(tasks, gone)) {
      all = all && still(task.path());
    }
    std::this_thread::yield();
  }
}

int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  Check(bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
            getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0,
        "no free port");
  close(fd);
  return ntohs(address.sin_port);
}

std::string Contents(const std::string& file) {
  std::ifstream in(file);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

}  // namespace postern::storage
