// An SMTP reply: code, enhanced status code (RFC 3463), text.
#ifndef POSTERN_SERVICES_PROTOCOL_SMTP_REPLY_H_
#define POSTERN_SERVICES_PROTOCOL_SMTP_REPLY_H_

#include <string>

#include "absl/strings/string_view.h"

namespace postern::smtp {

struct Reply {
  int code = 0;
  // "5.1.1"; empty for replies that have none (greeting, EHLO, 354, 334).
  std::string enhanced;
  // Without CR or LF; at most 400 octets.
  std::string text;

  // "550 5.1.1 No such user here\r\n"
  std::string ToWire() const;
};

}  // namespace postern::smtp

#endif  // POSTERN_SERVICES_PROTOCOL_SMTP_REPLY_H_
