#include "ctl/json.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace postern::ctl {
namespace {

using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// STATE_WAITING is "waiting": the prefix is what the type's zero has before UNSPECIFIED.
std::string EnumText(const EnumValueDescriptor& value) {
  absl::string_view prefix = value.type()->value(0)->name();
  absl::ConsumeSuffix(&prefix, "UNSPECIFIED");
  return absl::AsciiStrToLower(absl::StripPrefix(value.name(), prefix));
}

std::string Value(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& reflection = *message.GetReflection();
  const bool repeated = field.is_repeated();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return (repeated ? reflection.GetRepeatedBool(message, &field, index)
                       : reflection.GetBool(message, &field))
                 ? "true"
                 : "false";
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(repeated ? reflection.GetRepeatedInt32(message, &field, index)
                                   : reflection.GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_INT64:
      return absl::StrCat(repeated ? reflection.GetRepeatedInt64(message, &field, index)
                                   : reflection.GetInt64(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(repeated ? reflection.GetRepeatedUInt64(message, &field, index)
                                   : reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_ENUM:
      return JsonString(EnumText(*(repeated ? reflection.GetRepeatedEnum(message, &field, index)
                                            : reflection.GetEnum(message, &field))));
    case FieldDescriptor::CPPTYPE_STRING:
      return JsonString(repeated ? reflection.GetRepeatedString(message, &field, index)
                                 : reflection.GetString(message, &field));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return JsonObject(repeated ? reflection.GetRepeatedMessage(message, &field, index)
                                 : reflection.GetMessage(message, &field))
          .ToString();
    default:
      // No message that posternctl prints has another type.
      return "null";
  }
}

}  // namespace

std::string JsonString(absl::string_view text) {
  std::string out = "\"";
  for (unsigned char c : text) {
    switch (c) {
      case '"':
      case '\\':
        out += '\\';
        out += static_cast<char>(c);
        break;
      case '\n':
        out += "\\n";
        break;
      default:
        if (absl::ascii_iscntrl(c)) {
          absl::StrAppendFormat(&out, "\\u%04x", c);
        } else {
          // Protobuf's strings are UTF-8.
          out += static_cast<char>(c);
        }
    }
  }
  out += '"';
  return out;
}

JsonObject::JsonObject(const Message& message) {
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (!field.is_repeated()) {
      Raw(field.name(), Value(message, field, 0));
      continue;
    }
    std::vector<std::string> items;
    const int size = message.GetReflection()->FieldSize(message, &field);
    for (int index = 0; index < size; ++index) items.push_back(Value(message, field, index));
    Array(field.name(), items);
  }
}

JsonObject& JsonObject::Number(absl::string_view key, int64_t value) {
  return Raw(key, absl::StrCat(value));
}

JsonObject& JsonObject::Text(absl::string_view key, absl::string_view value) {
  return Raw(key, JsonString(value));
}

JsonObject& JsonObject::Array(absl::string_view key, const std::vector<std::string>& items) {
  return Raw(key, absl::StrCat("[", absl::StrJoin(items, ", "), "]"));
}

JsonObject& JsonObject::Raw(absl::string_view key, absl::string_view json) {
  members_.push_back(absl::StrCat(JsonString(key), ": ", json));
  return *this;
}

std::string JsonObject::ToString() const {
  return absl::StrCat("{", absl::StrJoin(members_, ", "), "}");
}

}  // namespace postern::ctl
