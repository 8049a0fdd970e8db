// JSON (RFC 8259) from outside, by jansson.
#ifndef POSTERN_AUTH_SVC_OAUTH_JSON_H_
#define POSTERN_AUTH_SVC_OAUTH_JSON_H_

#include <jansson.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace postern::auth::oauth {

struct DropJson {
  void operator()(json_t* value) const { json_decref(value); }
};
using Json = std::unique_ptr<json_t, DropJson>;

// Null: it is no JSON object, a name stands twice in one, or a string holds NUL. jansson's own
// words would quote what is there.
inline Json ParseObject(absl::string_view text) {
  Json value(json_loadb(text.data(), text.size(), JSON_REJECT_DUPLICATES, nullptr));
  return json_is_object(value.get()) ? std::move(value) : nullptr;
}

// nullopt: no such member, or no string.
inline std::optional<std::string> StringAt(const json_t* object, const std::string& name) {
  const json_t* const value = json_object_get(object, name.c_str());
  if (!json_is_string(value)) return std::nullopt;
  return std::string(json_string_value(value), json_string_length(value));
}

}  // namespace postern::auth::oauth

#endif  // POSTERN_AUTH_SVC_OAUTH_JSON_H_
