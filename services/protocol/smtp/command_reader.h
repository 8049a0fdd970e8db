// Octets to command lines.
#ifndef POSTERN_SERVICES_PROTOCOL_SMTP_COMMAND_READER_H_
#define POSTERN_SERVICES_PROTOCOL_SMTP_COMMAND_READER_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace postern::smtp {

// Finds the next line, which only CRLF ends (RFC 5321 2.3.8), within limits, and swallows one that
// is over them.
class CommandReader {
 public:
  enum class Status : uint8_t {
    // Give the rest of the input again, with more after it.
    kIncomplete,
    kLine,
    // A whole line, but too long or with a NUL in it.
    kTooLong,
    kNul,
    // A bare CR or LF, or no end of line within 64 KiB: where lines end can't be told any more, or
    // not by both sides alike. Nothing can follow.
    kBroken,
  };
  struct Result {
    Status status = Status::kIncomplete;
    // Octets of the input that are done with.
    size_t consumed = 0;
    // Without CRLF; kLine only.
    absl::string_view line;
  };

  // `authenticating`: the line is an answer within AUTH. `auth`: AUTH lines may be long.
  Result Read(absl::string_view input, bool authenticating, bool auth);

 private:
  // Octets at the start of the input that have no line end in them.
  size_t scanned_ = 0;
  // Octets that were dropped of a line that is too long.
  size_t swallowed_ = 0;
};

}  // namespace postern::smtp

#endif  // POSTERN_SERVICES_PROTOCOL_SMTP_COMMAND_READER_H_
