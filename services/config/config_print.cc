#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "services/config/config.h"
#include "services/config/config_field.h"

namespace postern::config {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::google::protobuf::Reflection;

std::string Quoted(absl::string_view text) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
    }
    quoted += c;
  }
  return quoted + "\"";
}

// `index` < 0: the field is not repeated.
std::string Scalar(const Message& message, const FieldDescriptor& field, int index) {
  if (RulesOf(field).secret()) {
    return Quoted("***");
  }
  const Reflection& r = *message.GetReflection();
  const bool one = index < 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return Quoted(one ? r.GetString(message, &field)
                        : r.GetRepeatedString(message, &field, index));
    case FieldDescriptor::CPPTYPE_BOOL:
      return (one ? r.GetBool(message, &field) : r.GetRepeatedBool(message, &field, index))
                 ? "true"
                 : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return (one ? r.GetEnum(message, &field) : r.GetRepeatedEnum(message, &field, index))->name();
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(one ? r.GetInt32(message, &field)
                              : r.GetRepeatedInt32(message, &field, index));
    case FieldDescriptor::CPPTYPE_INT64:
      return absl::StrCat(one ? r.GetInt64(message, &field)
                              : r.GetRepeatedInt64(message, &field, index));
    default:
      return "";
  }
}

bool HasRequired(const Descriptor& type) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (RulesOf(field).required() || (field.message_type() != nullptr && !field.is_repeated() &&
                                      HasRequired(*field.message_type()))) {
      return true;
    }
  }
  return false;
}

// A field that can't be left at its default has none to show.
bool IsShown(const Message& message, const FieldDescriptor& field) {
  if (field.is_repeated() || message.GetReflection()->HasField(message, &field)) {
    return true;
  }
  return field.message_type() != nullptr ? !HasRequired(*field.message_type())
                                         : !RulesOf(field).required();
}

// `first` begins the first line, `indent` the others.
void Print(const Message& message, std::string first, const std::string& indent, std::string* out) {
  const Reflection& reflection = *message.GetReflection();
  bool empty = true;
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    if (!IsShown(message, field)) {
      continue;
    }
    empty = false;
    absl::StrAppend(out, first, field.name(), ":");
    first = indent;
    if (!field.is_repeated()) {
      if (field.message_type() == nullptr) {
        absl::StrAppend(out, " ", Scalar(message, field, -1), "\n");
      } else {
        absl::StrAppend(out, "\n");
        Print(reflection.GetMessage(message, &field), indent + "  ", indent + "  ", out);
      }
      continue;
    }
    const int size = reflection.FieldSize(message, &field);
    absl::StrAppend(out, size == 0 ? " []\n" : "\n");
    for (int j = 0; j < size; ++j) {
      if (field.message_type() == nullptr) {
        absl::StrAppend(out, indent, "  - ", Scalar(message, field, j), "\n");
      } else {
        Print(reflection.GetRepeatedMessage(message, &field, j), indent + "  - ", indent + "    ",
              out);
      }
    }
  }
  if (empty) {
    absl::StrAppend(out, first, "{}\n");
  }
}

}  // namespace

std::string PrintConfig(const Message& config) {
  std::string out;
  Print(config, "", "", &out);
  return out;
}

}  // namespace postern::config
