// The files in which the engines' dialogs stand: see the README.md beside them.
#ifndef POSTERN_SERVICES_PROTOCOL_DIALOG_DIALOG_FILE_H_
#define POSTERN_SERVICES_PROTOCOL_DIALOG_DIALOG_FILE_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace postern::protocol {

struct DialogLine {
  // In the file, from 1.
  int number = 0;
  char kind = ' ';  // C - S ! > =
  // Unescaped, but for '!'.
  std::string text;
};

struct DialogFile {
  // "name: value" lines, in order, as they stand.
  std::vector<std::pair<std::string, std::string>> settings;
  std::vector<DialogLine> lines;
};

// For tests: what is wrong with the file fails the test.
DialogFile LoadDialog(const std::string& path);

// \r \n \t \0 \\ \xHH, and \(TEXT*N) for N times TEXT.
std::string Unescape(absl::string_view text);

}  // namespace postern::protocol

#endif  // POSTERN_SERVICES_PROTOCOL_DIALOG_DIALOG_FILE_H_
