// What follows DATA's 354: octets to a message without dot-stuffing, up to its end.
#ifndef POSTERN_SERVICES_PROTOCOL_SMTP_DATA_READER_H_
#define POSTERN_SERVICES_PROTOCOL_SMTP_DATA_READER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace postern::smtp {

// One message, with lines of any length: RFC 5321 4.5.3.1.6 has 998 octets, and real mail has more.
// Only CRLF ends a line and only CRLF "." CRLF the message (RFC 5321 2.3.8, 4.1.1.4);
// a message that another server could split elsewhere has a defect, and is read to its true end all
// the same, so that none of it is ever taken for a command.
class DataReader {
 public:
  // The one that is told when there are several comes first.
  enum class Defect : uint8_t {
    kTooLarge,
    kBareCr,
    kBareLf,
    // RFC 2045 2.7 and 2.8: neither BODY=7BIT nor 8BITMIME holds a NUL. Servers that drop NULs
    // would see a line end or a lone dot where we don't.
    kNul,
    // 100 Received fields (RFC 5321 6.3).
    kLoop,
    kNone,
  };

  struct Result {
    // Octets of the input that are done with. Up to two (CR, ".", "." CR) may remain: what they
    // mean depends on what follows; give them again with it.
    size_t consumed = 0;
    // Octets of the message, within the input, which is changed to hold them in one piece. Empty
    // once there is a defect.
    absl::string_view text;
    bool end = false;
  };

  explicit DataReader(uint64_t max_octets) : max_octets_(max_octets) {}

  // Decodes in place. Not after `end`.
  Result Decode(absl::Span<char> input);

  Defect defect() const { return defect_; }
  // Of the message so far, that after a defect included.
  uint64_t octets() const { return octets_; }

 private:
  void Note(Defect defect) {
    // By rank, not by time: how the octets were cut on their way must not matter.
    if (defect < defect_) defect_ = defect;
  }
  void CountInLine(size_t octets) {
    constexpr uint32_t kEnough = 16;
    line_octets_ = octets >= kEnough ? kEnough : std::min(kEnough, line_octets_ + uint32_t(octets));
  }
  void ScanLinePart(const char* begin, const char* end);

  const uint64_t max_octets_;
  uint64_t octets_ = 0;
  // Of this line; no more than it takes to know that it is neither empty nor "received:".
  uint32_t line_octets_ = 0;
  Defect defect_ = Defect::kNone;
  bool at_line_start_ = true;
  bool in_header_ = true;
  // Octets of "received:" that this line began with.
  uint8_t matched_ = 0;
  uint8_t received_fields_ = 0;
};

}  // namespace postern::smtp

#endif  // POSTERN_SERVICES_PROTOCOL_SMTP_DATA_READER_H_
