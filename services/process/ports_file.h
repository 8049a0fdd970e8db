// What a process bound, for tools on the same machine that asked for port 0.
#ifndef POSTERN_SERVICES_PROCESS_PORTS_FILE_H_
#define POSTERN_SERVICES_PROCESS_PORTS_FILE_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace postern::process {

// {"http": 1, "rpc": 2, "listeners": {"mx": 3}}: "rpc" only when it is among `ports`, the others
// are listeners.
std::string PortsJson(int http, const std::map<std::string, int>& ports);

// By a rename: a reader sees a whole file or none. Errors name the file.
absl::Status WritePortsFile(const std::string& file, absl::string_view json);

}  // namespace postern::process

#endif  // POSTERN_SERVICES_PROCESS_PORTS_FILE_H_
