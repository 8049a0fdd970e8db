// A new password: asked on the terminal, or one line of standard input. Never from the command
// line, which every user of the machine can read.
#ifndef POSTERN_CTL_PASSWORD_INPUT_H_
#define POSTERN_CTL_PASSWORD_INPUT_H_

#include <istream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::ctl {

struct NewPassword {
  std::string text;
  // One that another system made (auth-svc/domain/stored_hash.h).
  bool is_hash = false;
};

// The first line without its line end. INVALID_ARGUMENT: there is none, or it is too long.
absl::StatusOr<std::string> ReadPasswordLine(std::istream& in);

// Asks twice on the controlling terminal, without echo. INVALID_ARGUMENT: no terminal, given up, or
// two different answers.
absl::StatusOr<std::string> AskPassword(absl::string_view address);

// Asks for "yes" on the controlling terminal.
absl::StatusOr<bool> Confirm(absl::string_view question);

}  // namespace postern::ctl

#endif  // POSTERN_CTL_PASSWORD_INPUT_H_
