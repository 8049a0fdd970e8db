// Clients that speak another protocol to a mail port: a browser that was told to (ALPACA, and the
// older cross-protocol attacks), or one that began TLS where it begins by a command.
#ifndef POSTERN_SERVICES_PROTOCOL_FOREIGN_FOREIGN_H_
#define POSTERN_SERVICES_PROTOCOL_FOREIGN_FOREIGN_H_

#include "absl/strings/string_view.h"

namespace postern::protocol {

// Whether a line is the first of an HTTP request (RFC 9110 9, RFC 5789): what follows it is the
// attacker's text. None of these words is a command of SMTP or POP3.
bool BeginsHttp(absl::string_view line);

// Whether octets where a line begins are a TLS handshake (RFC 8446 5.1).
bool BeginsTls(absl::string_view octets);

}  // namespace postern::protocol

#endif  // POSTERN_SERVICES_PROTOCOL_FOREIGN_FOREIGN_H_
