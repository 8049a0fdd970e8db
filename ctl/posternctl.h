// posternctl: the operator's tool.
#ifndef POSTERN_CTL_POSTERNCTL_H_
#define POSTERN_CTL_POSTERNCTL_H_

#include <istream>
#include <ostream>
#include <string>
#include <vector>

namespace postern::ctl {

// Exit codes.
inline constexpr int kDone = 0;
// A service refused, or did not answer.
inline constexpr int kRefused = 1;
// Wrong command line, input or configuration: nothing was asked of a service.
inline constexpr int kWrongUse = 2;

// Runs one command line (without the program's name) and returns the exit code. Errors are one line
// on `err`.
int Run(std::vector<std::string> arguments, std::istream& in, std::ostream& out, std::ostream& err);

}  // namespace postern::ctl

#endif  // POSTERN_CTL_POSTERNCTL_H_
