// The files that a configuration names, opened as the process would open them: for --check-config.
#ifndef POSTERN_SERVICES_PROCESS_CONFIG_FILES_H_
#define POSTERN_SERVICES_PROCESS_CONFIG_FILES_H_

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace google::protobuf {
class Message;
}  // namespace google::protobuf

namespace postern::process {

struct FileFault {
  // Where the file is named: "process.mtls.certificate_file", "security_domains[1]...".
  std::string key;
  // "FILE: why": absent, unreadable, not what it should be, expired, not its key.
  std::string why;
};

// Certificates, keys, and the folder of the database, which is not made. In the order of the
// configuration; none: all is good at `now`.
std::vector<FileFault> CheckFiles(const google::protobuf::Message& config, absl::Time now);

}  // namespace postern::process

#endif  // POSTERN_SERVICES_PROCESS_CONFIG_FILES_H_
