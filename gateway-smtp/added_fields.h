// The fields that this gateway adds to a message, each whole with its CRLF.
#ifndef POSTERN_GATEWAY_SMTP_ADDED_FIELDS_H_
#define POSTERN_GATEWAY_SMTP_ADDED_FIELDS_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace postern::gateway_smtp {

struct ReceivedParts {
  // What the client said: hostile.
  absl::string_view helo;
  // Its address, without brackets.
  absl::string_view client_address;
  // Ours.
  absl::string_view hostname;
  // RFC 3848.
  absl::string_view protocol;
  // Empty without TLS.
  absl::string_view tls;
  absl::string_view id;
  // Of the only recipient; else empty: the field must not tell one recipient of another.
  absl::string_view recipient;
  absl::Time time;
};

// In front of every message (RFC 5321 4.4): folded; under 2 KiB whatever the parts are. What a
// client said can't end a line, a comment or the field.
std::string MakeReceived(const ReceivedParts& parts);

// RFC 6409 8.2.
std::string MakeDate(absl::Time time);

// RFC 6409 8.3: `id`, which is unique, in the sender's domain; in `hostname` for the null sender,
// and where the domain is beyond ASCII.
std::string MakeMessageId(absl::string_view id, absl::string_view sender,
                          absl::string_view hostname);

}  // namespace postern::gateway_smtp

#endif  // POSTERN_GATEWAY_SMTP_ADDED_FIELDS_H_
