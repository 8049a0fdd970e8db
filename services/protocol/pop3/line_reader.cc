#include "services/protocol/pop3/line_reader.h"

#include "absl/strings/match.h"

namespace postern::pop3 {

namespace {

size_t Limit(absl::string_view line, bool sasl) {
  if (sasl || absl::StartsWithIgnoreCase(line, "AUTH ")) return kMaxAuthLineOctets;
  const bool login =
      absl::StartsWithIgnoreCase(line, "USER ") || absl::StartsWithIgnoreCase(line, "PASS ");
  return login ? kMaxLoginLineOctets : kMaxLineOctets;
}

}  // namespace

Line LineReader::Next(bool sasl) {
  const absl::string_view rest = absl::string_view(buffer_).substr(taken_);
  const size_t end = rest.find('\n', scanned_);
  if (end == absl::string_view::npos) {
    if (discarding_ || rest.size() > Limit(rest, sasl)) {
      discarding_ = true;
      std::string().swap(buffer_);
      scanned_ = 0;
    } else {
      scanned_ = rest.size();
      if (rest.empty()) {
        std::string().swap(buffer_);
      } else {
        buffer_.erase(0, taken_);
      }
    }
    taken_ = 0;
    return {};
  }
  taken_ += end + 1;
  scanned_ = 0;
  absl::string_view text = rest.substr(0, end);
  if (discarding_ || end + 1 > Limit(text, sasl)) {
    discarding_ = false;
    return {Line::Kind::kTooLong, {}};
  }
  if (!absl::EndsWith(text, "\r")) return {Line::Kind::kMalformed, {}};
  text.remove_suffix(1);
  if (text.find_first_of(absl::string_view("\r\0", 2)) != absl::string_view::npos) {
    return {Line::Kind::kMalformed, {}};
  }
  return {Line::Kind::kLine, text};
}

void LineReader::Clear() {
  std::string().swap(buffer_);
  taken_ = 0;
  scanned_ = 0;
  discarding_ = false;
}

}  // namespace postern::pop3
