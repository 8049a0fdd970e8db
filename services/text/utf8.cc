#include "services/text/utf8.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/string_view.h"

namespace postern::text {

int TakeCharacter(absl::string_view& text) {
  const auto octet = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const int lead = octet(0);
  size_t size = 1;
  int character = lead;
  int least = 0;
  if (lead >= 0xF0 && lead <= 0xF4) {
    size = 4, character = lead & 0x07, least = 0x10000;
  } else if (lead >= 0xE0 && lead < 0xF0) {
    size = 3, character = lead & 0x0F, least = 0x800;
  } else if (lead >= 0xC2 && lead < 0xE0) {
    size = 2, character = lead & 0x1F, least = 0x80;
  } else if (lead >= 0x80) {
    return -1;
  }
  if (text.size() < size) return -1;
  for (size_t i = 1; i < size; ++i) {
    if ((octet(i) & 0xC0) != 0x80) return -1;
    character = character << 6 | (octet(i) & 0x3F);
  }
  if (character < least || character > 0x10FFFF || (character >= 0xD800 && character <= 0xDFFF)) {
    return -1;
  }
  text.remove_prefix(size);
  return character;
}

size_t Utf8Length(absl::string_view text) {
  const size_t size = text.size();
  return TakeCharacter(text) < 0 ? 0 : size - text.size();
}

bool IsUtf8(absl::string_view text) {
  while (!text.empty()) {
    if (TakeCharacter(text) < 0) return false;
  }
  return true;
}

bool IsAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x80; });
}

bool IsControl(int character) {
  return character < 0x20 || (character >= 0x7F && character < 0xA0) || character == 0x2028 ||
         character == 0x2029;
}

}  // namespace postern::text
