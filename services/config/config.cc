#include "services/config/config.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "proto/postern/config/v1/options.pb.h"
#include "services/config/config_field.h"
#include "services/config/small_file.h"
#include "services/config/yaml_tree.h"
#include "services/text/utf8.h"

namespace postern::config {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::EnumValueDescriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::google::protobuf::Reflection;

// The operator's own text in a message, at a length that can be read.
std::string Shown(absl::string_view text) {
  constexpr size_t kMaxShown = 60;
  std::string shown = "\"";
  while (!text.empty() && shown.size() < kMaxShown) {
    // Not empty and checked to be UTF-8 by ParseYaml, but for what an escape in quotes may make.
    const size_t length = text::Utf8Length(text);
    if (length == 0 || static_cast<uint8_t>(text[0]) < 0x20) {
      shown += '?';
      text.remove_prefix(1);
      continue;
    }
    absl::StrAppend(&shown, text.substr(0, length));
    text.remove_prefix(length);
  }
  return absl::StrCat(shown, text.empty() ? "" : "...", "\"");
}

std::string FoundIn(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kScalar:
      return absl::StrCat(Shown(node.text), node.quoted ? " in quotes" : "");
    case YamlNode::Kind::kSequence:
      return "a list";
    case YamlNode::Kind::kMapping:
      return "keys";
  }
  return "";
}

bool IsText(absl::string_view text) {
  while (!text.empty()) {
    const size_t length = text::Utf8Length(text);
    if (length == 0 || static_cast<uint8_t>(text[0]) < 0x20 || text[0] == 0x7F) {
      return false;
    }
    text.remove_prefix(length);
  }
  return true;
}

// Fills messages from a tree. Used once.
class Reader {
 public:
  Reader(absl::string_view file, const Descriptor& root) : file_(file), root_(root) {}

  absl::Status Fill(const YamlNode& node, const std::string& path, Message* message) const {
    const Descriptor& type = *message->GetDescriptor();
    std::map<absl::string_view, int> seen;
    for (const YamlEntry& entry : node.entries) {
      const std::string key = Below(path, Printable(entry.key));
      const FieldDescriptor* field = type.FindFieldByName(entry.key);
      if (field == nullptr) {
        return Wrong(entry.line, key, UnknownKey(type, entry.key));
      }
      if (const auto [first, is_new] = seen.emplace(entry.key, entry.line); !is_new) {
        return Wrong(entry.line, key,
                     absl::StrCat("stands here a second time; it stood in line ", first->second,
                                  " already"));
      }
      if (absl::Status status = SetField(entry, *field, key, message); !status.ok()) {
        return status;
      }
    }
    return CheckRequired(node, path, *message);
  }

 private:
  static std::string Below(const std::string& path, absl::string_view key) {
    return path.empty() ? std::string(key) : absl::StrCat(path, ".", key);
  }

  // A key as it stands in the file, made fit for a line of text.
  static std::string Printable(const std::string& key) {
    return IsText(key) && key.size() <= 64 && !key.empty() ? key : Shown(key);
  }

  absl::Status Wrong(int line, absl::string_view key, absl::string_view why) const {
    return absl::InvalidArgumentError(absl::StrCat(file_, ":", line, ": ", key, ": ", why));
  }

  absl::Status WrongValue(const YamlNode& node, absl::string_view key,
                          absl::string_view expected) const {
    return Wrong(node.line, key, absl::StrCat("found ", FoundIn(node), ", expected ", expected));
  }

  std::string UnknownKey(const Descriptor& type, const std::string& key) const {
    if (const std::string near = SuggestKey(root_, type, key); !near.empty()) {
      return absl::StrCat("unknown key; did you mean ", near, "?");
    }
    std::vector<std::string> known;
    for (int i = 0; i < type.field_count(); ++i) {
      known.push_back(type.field(i)->name());
    }
    return absl::StrCat("unknown key, expected one of ", absl::StrJoin(known, ", "));
  }

  absl::Status SetField(const YamlEntry& entry, const FieldDescriptor& field,
                        const std::string& key, Message* message) const {
    if (!field.is_repeated()) {
      return SetValue(entry.value, field, key, message);
    }
    if (entry.value.kind != YamlNode::Kind::kSequence) {
      return WrongValue(entry.value, key, absl::StrCat("a list, each of it ", ExpectedOf(field)));
    }
    for (size_t i = 0; i < entry.value.items.size(); ++i) {
      absl::Status status =
          SetValue(entry.value.items[i], field, absl::StrCat(key, "[", i, "]"), message);
      if (!status.ok()) {
        return status;
      }
    }
    return absl::OkStatus();
  }

  // Sets the field, or adds to it when it is repeated.
  absl::Status SetValue(const YamlNode& node, const FieldDescriptor& field, const std::string& key,
                        Message* message) const {
    const Reflection& reflection = *message->GetReflection();
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      if (node.kind != YamlNode::Kind::kMapping) {
        return WrongValue(node, key, ExpectedOf(field));
      }
      return Fill(node, key,
                  field.is_repeated() ? reflection.AddMessage(message, &field)
                                      : reflection.MutableMessage(message, &field));
    }
    if (node.kind != YamlNode::Kind::kScalar ||
        (node.quoted && field.cpp_type() != FieldDescriptor::CPPTYPE_STRING)) {
      return WrongValue(node, key, ExpectedOf(field));
    }
    const bool repeated = field.is_repeated();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        if (!IsText(node.text)) {
          return WrongValue(node, key, "text without control characters");
        }
        repeated ? reflection.AddString(message, &field, node.text)
                 : reflection.SetString(message, &field, node.text);
        return absl::OkStatus();
      case FieldDescriptor::CPPTYPE_BOOL: {
        const bool value = node.text == "true";
        if (!value && node.text != "false") {
          return WrongValue(node, key, ExpectedOf(field));
        }
        repeated ? reflection.AddBool(message, &field, value)
                 : reflection.SetBool(message, &field, value);
        return absl::OkStatus();
      }
      case FieldDescriptor::CPPTYPE_ENUM: {
        const EnumValueDescriptor* value = field.enum_type()->FindValueByName(node.text);
        if (value == nullptr || absl::EndsWith(value->name(), "_UNSPECIFIED")) {
          return WrongValue(node, key, ExpectedOf(field));
        }
        repeated ? reflection.AddEnum(message, &field, value)
                 : reflection.SetEnum(message, &field, value);
        return absl::OkStatus();
      }
      case FieldDescriptor::CPPTYPE_INT32:
      case FieldDescriptor::CPPTYPE_INT64: {
        const absl::StatusOr<int64_t> value = ParseNumber(field, node.text);
        if (!value.ok()) {
          return WrongValue(node, key, ExpectedOf(field));
        }
        if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
          repeated ? reflection.AddInt64(message, &field, *value)
                   : reflection.SetInt64(message, &field, *value);
        } else {
          const auto narrow = static_cast<int32_t>(*value);
          repeated ? reflection.AddInt32(message, &field, narrow)
                   : reflection.SetInt32(message, &field, narrow);
        }
        return absl::OkStatus();
      }
      default:
        return absl::InternalError(absl::StrCat(key, ": a type that no configuration uses yet"));
    }
  }

  absl::Status CheckRequired(const YamlNode& node, const std::string& path,
                             const Message& message) const {
    const Descriptor& type = *message.GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (!RulesOf(field).required()) {
        continue;
      }
      const Reflection& reflection = *message.GetReflection();
      const bool absent = field.is_repeated()
                              ? reflection.FieldSize(message, &field) == 0
                              : !reflection.HasField(message, &field) ||
                                    (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING &&
                                     reflection.GetString(message, &field).empty());
      if (!absent) {
        continue;
      }
      int line = node.line;
      for (const YamlEntry& entry : node.entries) {
        if (entry.key == field.name()) {
          line = entry.line;
        }
      }
      return Wrong(line, Below(path, field.name()),
                   absl::StrCat("is absent or empty, expected ", ExpectedOf(field)));
    }
    return absl::OkStatus();
  }

  const absl::string_view file_;
  const Descriptor& root_;
};

// The line where a key, or the last part of its path that stands there, begins.
int LineOf(const YamlNode& root, absl::string_view key) {
  const YamlNode* node = &root;
  int line = root.line;
  for (const absl::string_view step :
       absl::StrSplit(key, absl::ByAnyChar(".["), absl::SkipEmpty())) {
    size_t index = 0;
    const YamlNode* next = nullptr;
    if (absl::EndsWith(step, "]") && absl::SimpleAtoi(step.substr(0, step.size() - 1), &index)) {
      if (index < node->items.size()) {
        next = &node->items[index];
        line = next->line;
      }
    } else {
      for (const YamlEntry& entry : node->entries) {
        if (entry.key != step) continue;
        next = &entry.value;
        line = entry.line;
      }
    }
    if (next == nullptr) break;
    node = next;
  }
  return line;
}

}  // namespace

std::string PlaceOf(absl::string_view file, absl::string_view key) {
  const absl::StatusOr<std::string> yaml = ReadSmallFile(file, kMaxYamlOctets);
  const absl::StatusOr<YamlNode> root = yaml.ok() ? ParseYaml(*yaml, file) : yaml.status();
  if (!root.ok()) return absl::StrCat(file, ": ", key);
  return absl::StrCat(file, ":", LineOf(*root, key), ": ", key);
}

absl::Status LoadConfig(absl::string_view file, Message* config) {
  const absl::StatusOr<std::string> yaml = ReadSmallFile(file, kMaxYamlOctets);
  if (!yaml.ok()) {
    return yaml.status();
  }
  return ParseConfig(*yaml, file, config);
}

absl::Status ParseConfig(absl::string_view yaml, absl::string_view file, Message* config) {
  config->Clear();
  const absl::StatusOr<YamlNode> root = ParseYaml(yaml, file);
  if (!root.ok()) {
    return root.status();
  }
  if (root->kind != YamlNode::Kind::kMapping) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ":", root->line, ": found ", FoundIn(*root), ", expected keys"));
  }
  return Reader(file, *config->GetDescriptor()).Fill(*root, "", config);
}

}  // namespace postern::config
