// UTF-8 (RFC 3629), decoded strictly: no overlong form, surrogate or value over 10FFFF.
#ifndef POSTERN_SERVICES_PROTOCOL_MAIL_UTF8_H_
#define POSTERN_SERVICES_PROTOCOL_MAIL_UTF8_H_

#include "absl/strings/string_view.h"

namespace postern::mail {

// Takes one character off the front of `text`, which is not empty. -1: not UTF-8; `text` is then
// unchanged.
int TakeCharacter(absl::string_view& text);

bool IsUtf8(absl::string_view text);

}  // namespace postern::mail

#endif  // POSTERN_SERVICES_PROTOCOL_MAIL_UTF8_H_
