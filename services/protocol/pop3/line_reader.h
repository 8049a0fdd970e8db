// Octets to command lines.
#ifndef POSTERN_SERVICES_PROTOCOL_POP3_LINE_READER_H_
#define POSTERN_SERVICES_PROTOCOL_POP3_LINE_READER_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace postern::pop3 {

// RFC 2449 4: with its CRLF.
inline constexpr size_t kMaxLineOctets = 255;
// For USER and PASS: an address may have 320 octets (RFC 5321 4.5.3.1), and a password what AUTH
// could carry; clients that keep to 255 lose nothing.
inline constexpr size_t kMaxLoginLineOctets = 5 + 1024 + 2;
// RFC 5034 4, for AUTH and the answers to its challenges.
inline constexpr size_t kMaxAuthLineOctets = 12288;

struct Line {
  enum class Kind {
    kNone,       // No whole line yet.
    kLine,       // `text`, without CRLF.
    kMalformed,  // Ended by a bare LF, or with a CR or NUL in it: not to be obeyed.
    kTooLong,
  };
  Kind kind = Kind::kNone;
  // Until the next call.
  absl::string_view text;
};

// An LF always ends a line, so that a client with the wrong line ends is told instead of waiting
// for ever; but only CRLF ends one that is obeyed (RFC 1939 3). Holds what was appended and not yet
// taken, and of an unfinished line at most the limit; no memory when there is nothing.
class LineReader {
 public:
  void Append(absl::string_view octets) { buffer_.append(octets.data(), octets.size()); }
  // With `sasl`, or when it begins with "AUTH ", the line may be kMaxAuthLineOctets long; with
  // "USER " or "PASS ", kMaxLoginLineOctets.
  Line Next(bool sasl);
  // What was appended and not yet taken, but for the beginning of a line that was too long. Until
  // the next call.
  absl::string_view waiting() const { return absl::string_view(buffer_).substr(taken_); }
  // Forgets everything (RFC 2595 4: what came before TLS was not protected).
  void Clear();

 private:
  std::string buffer_;
  // Octets of buffer_ that were taken, and after them those known to hold no LF.
  size_t taken_ = 0;
  size_t scanned_ = 0;
  // The line's beginning was too long and is gone.
  bool discarding_ = false;
};

}  // namespace postern::pop3

#endif  // POSTERN_SERVICES_PROTOCOL_POP3_LINE_READER_H_
