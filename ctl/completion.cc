#include "ctl/completion.h"

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace postern::ctl {
namespace {

// `path`: the words that lead to `app`, each with a blank before it.
void AddCases(const CLI::App& app, const std::string& path, std::string* paths,
              std::string* words) {
  std::vector<std::string> offered = WordsOf(app);
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& flag : option->get_lnames()) {
      offered.push_back(absl::StrCat("--", flag));
    }
  }
  absl::StrAppend(words, "    \"", path, "\") words=\"", absl::StrJoin(offered, " "), "\" ;;\n");
  for (const std::string& name : WordsOf(app)) {
    const std::string below = absl::StrCat(path, " ", name);
    absl::StrAppend(paths, "      \"", below, "\") path=\"", below, "\" ;;\n");
    AddCases(*app.get_subcommand(name), below, paths, words);
  }
}

}  // namespace

std::vector<std::string> WordsOf(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    // A group of options is a subcommand without a name.
    if (!command->get_name().empty()) names.push_back(command->get_name());
  }
  return names;
}

std::string CompletionScript(const CLI::App& app) {
  std::string paths;
  std::string words;
  AddCases(app, "", &paths, &words);
  return absl::StrCat(R"(_posternctl() {
  local path="" words="" word
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$path $word" in
)",
                      paths, R"(    esac
  done
  case "$path" in
)",
                      words, R"(  esac
  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _posternctl posternctl
)");
}

}  // namespace postern::ctl
