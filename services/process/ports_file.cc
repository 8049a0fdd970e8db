#include "services/process/ports_file.h"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

namespace postern::process {
namespace {

std::string Quoted(absl::string_view text) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
    }
    if (static_cast<uint8_t>(c) < 0x20) {
      absl::StrAppendFormat(&quoted, "\\u%04x", static_cast<uint8_t>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

absl::Status Failed(const std::string& file) {
  return absl::InvalidArgumentError(
      absl::StrCat("process.ports_file: ", file, ": cannot be written: ", strerror(errno)));
}

}  // namespace

std::string PortsJson(int http, const std::map<std::string, int>& ports) {
  std::string json = absl::StrCat("{\"http\": ", http);
  std::vector<std::string> listeners;
  for (const auto& [name, port] : ports) {
    if (name == "rpc") {
      absl::StrAppend(&json, ", \"rpc\": ", port);
    } else {
      listeners.push_back(absl::StrCat(Quoted(name), ": ", port));
    }
  }
  return absl::StrCat(json, ", \"listeners\": {", absl::StrJoin(listeners, ", "), "}}\n");
}

absl::Status WritePortsFile(const std::string& file, absl::string_view json) {
  const std::string temporary = file + ".new";
  std::FILE* out = std::fopen(temporary.c_str(), "we");
  if (out == nullptr) {
    return Failed(file);
  }
  const bool written = std::fwrite(json.data(), 1, json.size(), out) == json.size();
  if (std::fclose(out) != 0 || !written || std::rename(temporary.c_str(), file.c_str()) != 0) {
    const absl::Status status = Failed(file);
    std::remove(temporary.c_str());
    return status;
  }
  return absl::OkStatus();
}

}  // namespace postern::process
