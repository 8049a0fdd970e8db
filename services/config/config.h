// Configuration: a YAML file into a proto2 message whose fields carry their documentation, default
// and rules (proto/postern/config/v1/options.proto).
#ifndef POSTERN_SERVICES_CONFIG_CONFIG_H_
#define POSTERN_SERVICES_CONFIG_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace google::protobuf {
class Message;
}  // namespace google::protobuf

namespace postern::config {

// INVALID_ARGUMENT reads "FILE:LINE: KEY: what was found, what was expected": an unknown key (with
// the nearest known one), a wrong type, a value out of range, a key that stands twice, a required
// key that is absent.
absl::Status LoadConfig(absl::string_view file, google::protobuf::Message* config);
// The same on text; `file` is for messages only.
absl::Status ParseConfig(absl::string_view yaml, absl::string_view file,
                         google::protobuf::Message* config);

// "FILE:LINE: KEY" of a key as ParseConfig's errors name it ("listeners[1].port"); of what it
// stands in, when it does not stand there itself; "FILE: KEY" when the file can't be read.
std::string PlaceOf(absl::string_view file, absl::string_view key);

// YAML with every field, defaults included, secrets as "***". Loads again to the same configuration
// if there is no secret.
std::string PrintConfig(const google::protobuf::Message& config);

}  // namespace postern::config

#endif  // POSTERN_SERVICES_CONFIG_CONFIG_H_
