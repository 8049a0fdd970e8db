// What --json prints: one object, keys as in the protos, every field there even when it is empty.
#ifndef POSTERN_CTL_JSON_H_
#define POSTERN_CTL_JSON_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace google::protobuf {
class Message;
}  // namespace google::protobuf

namespace postern::ctl {

std::string JsonString(absl::string_view text);

// Fields in the order in which they were added.
class JsonObject {
 public:
  JsonObject() = default;
  // Every field of the message. Numbers of 64 bits are numbers (not strings, as protobuf's JSON has
  // them); an enum's value is its name in lower case without the type's prefix.
  explicit JsonObject(const google::protobuf::Message& message);

  JsonObject& Number(absl::string_view key, int64_t value);
  JsonObject& Text(absl::string_view key, absl::string_view value);
  // An array of `items`, JSON each.
  JsonObject& Array(absl::string_view key, const std::vector<std::string>& items);

  std::string ToString() const;

 private:
  JsonObject& Raw(absl::string_view key, absl::string_view json);

  std::vector<std::string> members_;
};

}  // namespace postern::ctl

#endif  // POSTERN_CTL_JSON_H_
