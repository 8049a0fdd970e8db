// YAML as a configuration needs it: mappings, sequences and scalars with their lines. No anchors or
// aliases, no tags, no second document: what could grow without bound or mean two things is an
// error.
#ifndef POSTERN_SERVICES_CONFIG_YAML_TREE_H_
#define POSTERN_SERVICES_CONFIG_YAML_TREE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::config {

struct YamlEntry;

struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMapping };

  Kind kind = Kind::kNull;
  // From 1.
  int line = 1;
  // kScalar.
  std::string text;
  bool quoted = false;
  // kSequence.
  std::vector<YamlNode> items;
  // kMapping, in the order of the file. Keys may repeat: the reader says where.
  std::vector<YamlEntry> entries;
};

struct YamlEntry {
  std::string key;
  int line = 1;
  YamlNode value;
};

inline constexpr size_t kMaxYamlOctets = 1 << 20;

// INVALID_ARGUMENT "FILE:LINE: why". An empty document is an empty mapping.
absl::StatusOr<YamlNode> ParseYaml(absl::string_view yaml, absl::string_view file);

}  // namespace postern::config

#endif  // POSTERN_SERVICES_CONFIG_YAML_TREE_H_
