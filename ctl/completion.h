// Completion of a command line by the shell, made of the commands themselves.
#ifndef POSTERN_CTL_COMPLETION_H_
#define POSTERN_CTL_COMPLETION_H_

#include <string>
#include <vector>

namespace CLI {
class App;
}  // namespace CLI

namespace postern::ctl {

// The names of an app's commands, in the order in which they were added.
std::vector<std::string> WordsOf(const CLI::App& app);

// A script for bash, and for zsh after bashcompinit: each command's words and flags.
std::string CompletionScript(const CLI::App& app);

}  // namespace postern::ctl

#endif  // POSTERN_CTL_COMPLETION_H_
