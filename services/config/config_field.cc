#include "services/config/config_field.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "proto/postern/config/v1/options.pb.h"
#include "services/text/nearest.h"

namespace postern::config {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::FieldDescriptor;
using ::postern::config::v1::FieldRules;

struct Suffix {
  absl::string_view text;
  int64_t factor;
};
constexpr Suffix kSeconds[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
constexpr Suffix kOctets[] = {
    {"KiB", int64_t{1} << 10}, {"MiB", int64_t{1} << 20}, {"GiB", int64_t{1} << 30}};

std::pair<int64_t, int64_t> RangeOf(const FieldDescriptor& field) {
  const FieldRules& rules = RulesOf(field);
  int64_t low = std::numeric_limits<int64_t>::min();
  int64_t high = std::numeric_limits<int64_t>::max();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT32) {
    low = std::numeric_limits<int32_t>::min();
    high = std::numeric_limits<int32_t>::max();
  }
  return {rules.has_min() ? std::max(low, rules.min()) : low,
          rules.has_max() ? std::min(high, rules.max()) : high};
}

std::string ExpectedNumber(const FieldDescriptor& field) {
  const FieldRules& rules = RulesOf(field);
  std::string text;
  absl::string_view unit;
  switch (rules.unit()) {
    case FieldRules::UNIT_SECONDS:
      text = "a duration such as 90s, 5m, 2h or 1d";
      unit = " seconds";
      break;
    case FieldRules::UNIT_OCTETS:
      text = "a size such as 64KiB, 50MiB or 1GiB";
      unit = " octets";
      break;
    default:
      text = "a whole number";
      break;
  }
  if (rules.has_min() || rules.has_max()) {
    const auto [low, high] = RangeOf(field);
    absl::StrAppend(&text, unit.empty() ? "" : ",", " from ", low, " to ", high, unit);
  }
  return text;
}

std::string ExpectedEnum(const FieldDescriptor& field) {
  std::vector<std::string> names;
  for (int i = 0; i < field.enum_type()->value_count(); ++i) {
    const std::string& name = field.enum_type()->value(i)->name();
    if (!absl::EndsWith(name, "_UNSPECIFIED")) {
      names.push_back(name);
    }
  }
  return absl::StrCat("one of ", absl::StrJoin(names, ", "));
}

// Depth-first: the path of a field named `name` below `message`, or "".
std::string FindField(const Descriptor& message, absl::string_view name) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    if (field.name() == name) {
      return field.name();
    }
  }
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    if (field.message_type() != nullptr) {
      if (const std::string path = FindField(*field.message_type(), name); !path.empty()) {
        return absl::StrCat(field.name(), field.is_repeated() ? "[]." : ".", path);
      }
    }
  }
  return "";
}

}  // namespace

const FieldRules& RulesOf(const FieldDescriptor& field) {
  return field.options().GetExtension(config::v1::rules);
}

std::string ExpectedOf(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return ExpectedEnum(field);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "keys below it";
    case FieldDescriptor::CPPTYPE_STRING:
      return "text";
    default:
      return ExpectedNumber(field);
  }
}

absl::StatusOr<int64_t> ParseNumber(const FieldDescriptor& field, absl::string_view text) {
  int64_t factor = 1;
  const auto strip = [&text, &factor](const auto& suffixes) {
    for (const Suffix& suffix : suffixes) {
      if (absl::EndsWith(text, suffix.text)) {
        text.remove_suffix(suffix.text.size());
        factor = suffix.factor;
        return;
      }
    }
  };
  if (RulesOf(field).unit() == FieldRules::UNIT_SECONDS) {
    strip(kSeconds);
  } else if (RulesOf(field).unit() == FieldRules::UNIT_OCTETS) {
    strip(kOctets);
  }
  // Digits alone: SimpleAtoi would also take blanks and a plus.
  const absl::string_view digits = text.substr(!text.empty() && text[0] == '-' ? 1 : 0);
  int64_t number = 0;
  int64_t product = 0;
  const auto [low, high] = RangeOf(field);
  if (digits.empty() || digits.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(text, &number) || __builtin_mul_overflow(number, factor, &product) ||
      product < low || product > high) {
    return absl::InvalidArgumentError("");
  }
  return product;
}

std::string SuggestKey(const Descriptor& root, const Descriptor& message,
                       absl::string_view unknown) {
  std::vector<std::string> names;
  for (int i = 0; i < message.field_count(); ++i) names.push_back(message.field(i)->name());
  const std::string nearest = text::Nearest(unknown, names);
  return nearest.empty() ? FindField(root, unknown) : nearest;
}

}  // namespace postern::config
