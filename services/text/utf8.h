// UTF-8 (RFC 3629), decoded strictly: no overlong form, no surrogate, nothing above U+10FFFF.
#ifndef POSTERN_SERVICES_TEXT_UTF8_H_
#define POSTERN_SERVICES_TEXT_UTF8_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace postern::text {

// Takes one character off the front of `text`, which is not empty. -1: not UTF-8; `text` is then
// unchanged.
int TakeCharacter(absl::string_view& text);

// Octets of the well-formed sequence that `text`, which is not empty, starts with; 0: none.
size_t Utf8Length(absl::string_view text);

// Well-formed throughout.
bool IsUtf8(absl::string_view text);

// No octet above 0x7F.
bool IsAscii(absl::string_view text);

// No mark on paper: C0, DEL, C1, the line and paragraph separators.
bool IsControl(int character);

}  // namespace postern::text

#endif  // POSTERN_SERVICES_TEXT_UTF8_H_
