#include "services/protocol/dialog/dialog_file.h"

#include <algorithm>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"

namespace postern::protocol {
namespace {

// "name: value" of a setting, or false.
bool IsSetting(absl::string_view text, std::pair<std::string, std::string>* setting) {
  const size_t colon = text.find(':');
  if (colon == absl::string_view::npos || colon == 0) return false;
  const absl::string_view name = text.substr(0, colon);
  if (!std::all_of(name.begin(), name.end(), absl::ascii_islower)) return false;
  absl::string_view value = text.substr(colon + 1);
  absl::ConsumePrefix(&value, " ");
  *setting = {std::string(name), std::string(value)};
  return true;
}

}  // namespace

std::string Unescape(absl::string_view text) {
  std::string out;
  while (!text.empty()) {
    if (text.front() != '\\') {
      out.push_back(text.front());
      text.remove_prefix(1);
      continue;
    }
    const char c = text.size() > 1 ? text[1] : ' ';
    size_t used = 2;
    if (c == 'r') {
      out.push_back('\r');
    } else if (c == 'n') {
      out.push_back('\n');
    } else if (c == 't') {
      out.push_back('\t');
    } else if (c == '0') {
      out.push_back('\0');
    } else if (c == '\\') {
      out.push_back('\\');
    } else if (c == 'x') {
      out.push_back(static_cast<char>(std::stoi(std::string(text.substr(2, 2)), nullptr, 16)));
      used = 4;
    } else if (c == '(') {
      const size_t star = text.find('*');
      used = text.find(')') + 1;
      const std::string piece = Unescape(text.substr(2, star - 2));
      const int times = std::stoi(std::string(text.substr(star + 1)));
      for (int i = 0; i < times; ++i) out += piece;
    } else {
      ADD_FAILURE() << "bad escape: " << text;
      return out;
    }
    text.remove_prefix(used);
  }
  return out;
}

DialogFile LoadDialog(const std::string& path) {
  DialogFile dialog;
  std::ifstream file(path);
  std::string text;
  for (int number = 1; std::getline(file, text); ++number) {
    absl::string_view rest = text;
    if (rest.empty() || rest.front() == '#') continue;
    std::pair<std::string, std::string> setting;
    if (IsSetting(rest, &setting)) {
      dialog.settings.push_back(std::move(setting));
      continue;
    }
    DialogLine line{number};
    if (absl::ConsumePrefix(&rest, "C:")) {
      line.kind = 'C';
    } else if (absl::ConsumePrefix(&rest, "C-")) {
      line.kind = '-';
    } else if (absl::ConsumePrefix(&rest, "S:")) {
      line.kind = 'S';
    } else if (rest.front() == '!' || rest.front() == '>' || rest.front() == '=') {
      line.kind = rest.front();
      rest.remove_prefix(1);
    } else {
      ADD_FAILURE() << path << ":" << number << ": " << text;
    }
    absl::ConsumePrefix(&rest, " ");
    line.text = line.kind == '!' ? std::string(rest) : Unescape(rest);
    dialog.lines.push_back(std::move(line));
  }
  EXPECT_FALSE(dialog.lines.empty()) << path;
  return dialog;
}

}  // namespace postern::protocol
