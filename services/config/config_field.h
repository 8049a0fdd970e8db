// What a configuration field takes: from its type and its rules (proto/postern/config/v1/
// options.proto), for the reader, the printer and the messages to the operator.
#ifndef POSTERN_SERVICES_CONFIG_CONFIG_FIELD_H_
#define POSTERN_SERVICES_CONFIG_CONFIG_FIELD_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "proto/postern/config/v1/options.pb.h"

namespace postern::config {

const config::v1::FieldRules& RulesOf(const google::protobuf::FieldDescriptor& field);

// Of one element when the field is repeated: "a whole number from 1 to 64", "one of mx,
// submission".
std::string ExpectedOf(const google::protobuf::FieldDescriptor& field);

// A whole number with the unit's suffix or none, within the field's range. The error is empty:
// ExpectedOf() says it.
absl::StatusOr<int64_t> ParseNumber(const google::protobuf::FieldDescriptor& field,
                                    absl::string_view text);

// The name to suggest for one that is not known: the nearest of the message's fields, or where in
// `root` a field of just that name is ("process.log_level"); "" when nothing is near.
std::string SuggestKey(const google::protobuf::Descriptor& root,
                       const google::protobuf::Descriptor& message, absl::string_view unknown);

}  // namespace postern::config

#endif  // POSTERN_SERVICES_CONFIG_CONFIG_FIELD_H_
