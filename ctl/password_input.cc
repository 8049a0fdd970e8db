#include "ctl/password_input.h"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace postern::ctl {
namespace {

// More than the 1024 octets that auth-svc takes, so that its sentence answers what is a little
// long.
constexpr size_t kMaxLineOctets = 4096;

// The controlling terminal; with `secret` without echo and line editing, so that Ctrl-C reaches us
// as a character and the terminal is always restored.
class Terminal {
 public:
  explicit Terminal(bool secret) : descriptor_(open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)) {
    if (descriptor_ < 0 || !secret || tcgetattr(descriptor_, &before_) != 0) return;
    termios quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON | ISIG);
    quiet.c_cc[VMIN] = 1;
    quiet.c_cc[VTIME] = 0;
    changed_ = tcsetattr(descriptor_, TCSAFLUSH, &quiet) == 0;
  }
  ~Terminal() {
    if (changed_) tcsetattr(descriptor_, TCSAFLUSH, &before_);
    if (descriptor_ >= 0) close(descriptor_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  bool open_for(bool secret) const { return descriptor_ >= 0 && (!secret || changed_); }

  absl::StatusOr<std::string> Ask(absl::string_view prompt) {
    Write(prompt);
    std::string line;
    while (true) {
      char c = 0;
      if (read(descriptor_, &c, 1) != 1) return GivenUp();
      switch (c) {
        case '\n':
        case '\r':
          if (changed_) Write("\n");
          return line;
        case 0x03:  // Ctrl-C
        case 0x04:  // Ctrl-D
        case 0x1c:  // Ctrl-backslash
          Write("\n");
          return GivenUp();
        case 0x08:
        case 0x7f:  // backspace: a whole character of UTF-8
          while (!line.empty() && (static_cast<unsigned char>(line.back()) & 0xc0) == 0x80) {
            line.pop_back();
          }
          if (!line.empty()) line.pop_back();
          break;
        case 0x15:  // Ctrl-U
          line.clear();
          break;
        default:
          if (line.size() >= kMaxLineOctets) return GivenUp();
          line += c;
      }
    }
  }

 private:
  static absl::Status GivenUp() { return absl::InvalidArgumentError("given up at the terminal"); }
  void Write(absl::string_view text) {
    if (write(descriptor_, text.data(), text.size()) < 0) return;
  }

  const int descriptor_;
  termios before_{};
  bool changed_ = false;
};

}  // namespace

absl::StatusOr<std::string> ReadPasswordLine(std::istream& in) {
  std::string line;
  char c = 0;
  bool any = false;
  while (in.get(c)) {
    any = true;
    if (c == '\n') break;
    if (line.size() >= kMaxLineOctets) {
      return absl::InvalidArgumentError("the password's line on standard input is too long");
    }
    line += c;
  }
  if (!any) {
    return absl::InvalidArgumentError(
        "standard input is empty, expected one line with the password or its hash");
  }
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return line;
}

absl::StatusOr<std::string> AskPassword(absl::string_view address) {
  Terminal terminal(/*secret=*/true);
  if (!terminal.open_for(/*secret=*/true)) {
    return absl::InvalidArgumentError(
        "there is no terminal to ask for the password on: give it as one line with "
        "--password-stdin");
  }
  absl::StatusOr<std::string> first =
      terminal.Ask(absl::StrCat("New password for ", address, ": "));
  if (!first.ok()) return first;
  absl::StatusOr<std::string> second = terminal.Ask("The same again: ");
  if (!second.ok()) return second;
  if (*first != *second) return absl::InvalidArgumentError("the two passwords differ: try again");
  return first;
}

absl::StatusOr<bool> Confirm(absl::string_view question) {
  Terminal terminal(/*secret=*/false);
  if (!terminal.open_for(/*secret=*/false)) {
    return absl::InvalidArgumentError("there is no terminal to ask on: add --yes");
  }
  absl::StatusOr<std::string> answer = terminal.Ask(absl::StrCat(question, " Type yes: "));
  if (!answer.ok()) return answer.status();
  return *answer == "yes";
}

}  // namespace postern::ctl
