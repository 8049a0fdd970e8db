// Base64 as SASL profiles use it (RFC 4648 4), strictly: no white space, no other characters,
// padded, and no stray bits.
#ifndef POSTERN_SERVICES_PROTOCOL_SASL_BASE64_H_
#define POSTERN_SERVICES_PROTOCOL_SASL_BASE64_H_

#include <string>

#include "absl/strings/string_view.h"

namespace postern::sasl {

std::string EncodeBase64(absl::string_view octets);

// False: not base64; `octets` is then unspecified.
bool DecodeBase64(absl::string_view text, std::string& octets);

}  // namespace postern::sasl

#endif  // POSTERN_SERVICES_PROTOCOL_SASL_BASE64_H_
