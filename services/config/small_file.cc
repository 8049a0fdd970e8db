#include "services/config/small_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace postern::config {
namespace {

absl::Status Failed(absl::string_view file, int error) {
  return absl::InvalidArgumentError(absl::StrCat(file, ": cannot be read: ", strerror(error)));
}

}  // namespace

absl::StatusOr<std::string> ReadSmallFile(absl::string_view file, size_t max_octets) {
  const int fd = open(std::string(file).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return Failed(file, errno);
  }
  const absl::Cleanup close_fd = [fd] { close(fd); };
  std::string contents;
  char buffer[16384];
  while (true) {
    const ssize_t n = read(fd, buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return Failed(file, errno);
    }
    if (n == 0) {
      return contents;
    }
    contents.append(buffer, static_cast<size_t>(n));
    if (contents.size() > max_octets) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ": is larger than ", max_octets, " octets"));
    }
  }
}

}  // namespace postern::config
