// A message's octets as a multi-line response carries them (RFC 1939 3).
#ifndef POSTERN_SERVICES_PROTOCOL_POP3_DOT_STUFFER_H_
#define POSTERN_SERVICES_PROTOCOL_POP3_DOT_STUFFER_H_

#include <string>

#include "absl/strings/string_view.h"

namespace postern::pop3 {

// For one message, in pieces of any size.
class DotStuffer {
 public:
  // Appends `piece`, with a dot before each dot that begins a line.
  void Append(absl::string_view piece, std::string* output);
  // Appends the final dot's line, after a CRLF when the message did not end with one.
  void Finish(std::string* output);

 private:
  // What the last octets were.
  enum class After { kCrLf, kCr, kOther };
  After after_ = After::kCrLf;
};

}  // namespace postern::pop3

#endif  // POSTERN_SERVICES_PROTOCOL_POP3_DOT_STUFFER_H_
