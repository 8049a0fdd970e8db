// UTF-8 (RFC 3629), well-formed or not.
#ifndef POSTERN_SERVICES_TEXT_UTF8_H_
#define POSTERN_SERVICES_TEXT_UTF8_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace postern::text {

// Octets of the well-formed sequence that `text`, which is not empty, starts with; 0: none. No
// overlong form, no surrogate, nothing above U+10FFFF.
size_t Utf8Length(absl::string_view text);

// Well-formed throughout.
bool IsUtf8(absl::string_view text);

}  // namespace postern::text

#endif  // POSTERN_SERVICES_TEXT_UTF8_H_
