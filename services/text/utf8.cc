#include "services/text/utf8.h"

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace postern::text {

size_t Utf8Length(absl::string_view text) {
  const auto octet = [text](size_t i) { return static_cast<uint8_t>(text[i]); };
  const auto tail = [text, octet](size_t i) {
    return i < text.size() && octet(i) >= 0x80 && octet(i) <= 0xBF;
  };
  const uint8_t first = octet(0);
  if (first < 0x80) {
    return 1;
  }
  if (first >= 0xC2 && first <= 0xDF) {
    return tail(1) ? 2 : 0;
  }
  if (first >= 0xE0 && first <= 0xEF) {
    if (!tail(1) || !tail(2) || (first == 0xE0 && octet(1) < 0xA0) ||
        (first == 0xED && octet(1) > 0x9F)) {
      return 0;
    }
    return 3;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if (!tail(1) || !tail(2) || !tail(3) || (first == 0xF0 && octet(1) < 0x90) ||
        (first == 0xF4 && octet(1) > 0x8F)) {
      return 0;
    }
    return 4;
  }
  return 0;
}

bool IsUtf8(absl::string_view text) {
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace postern::text
