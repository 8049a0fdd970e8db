// Reading the files a process is configured with: certificates, keys, its configuration.
#ifndef POSTERN_SERVICES_CONFIG_SMALL_FILE_H_
#define POSTERN_SERVICES_CONFIG_SMALL_FILE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::config {

// The whole file. INVALID_ARGUMENT "FILE: why" when it can't be read or is larger than
// `max_octets`.
absl::StatusOr<std::string> ReadSmallFile(absl::string_view file, size_t max_octets);

}  // namespace postern::config

#endif  // POSTERN_SERVICES_CONFIG_SMALL_FILE_H_
