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

  // "550 5.1.1 No such user here\r\n". One line whatever the text holds: octets that a reply can't
  // carry (RFC 5321 4.2: textstring) become '?', and what is over 400 octets is cut.
  std::string ToWire() const;
};

// ToWire at the end of `out`.
void AppendReply(std::string& out, int code, absl::string_view enhanced, absl::string_view text);

// RFC 5321 4.5.3.1.10: a client then sends to the rest in another transaction.
Reply TooManyRecipients();

}  // namespace postern::smtp

#endif  // POSTERN_SERVICES_PROTOCOL_SMTP_REPLY_H_
