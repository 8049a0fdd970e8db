#include "services/protocol/sasl/base64.h"

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"

namespace postern::sasl {

std::string EncodeBase64(absl::string_view octets) { return absl::Base64Escape(octets); }

bool DecodeBase64(absl::string_view text, std::string& octets) {
  // absl's decoder takes white space, '.' for '=', missing padding and stray bits (RFC 4648 3.1 to
  // 3.5). What encodes to the same text again has none of them.
  return absl::Base64Unescape(text, &octets) && absl::Base64Escape(octets) == text;
}

}  // namespace postern::sasl
