#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/protocol/mail/address.h"

// What is an address is one again in its own spelling, the same one, and nothing that could end a
// command or a path is in it.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using postern::mail::Address;
  using postern::mail::ParseAddress;
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  for (const bool utf8 : {false, true}) {
    const absl::StatusOr<Address> address = ParseAddress(input, utf8);
    if (!address.ok()) continue;
    if (address->local_part.empty() || address->local_part.size() > 64) std::abort();
    if (address->domain.empty() || address->domain.size() > 255) std::abort();
    const std::string text = address->ToString();
    for (const char c : text) {
      if (c == '\r' || c == '\n' || c == '\0') std::abort();
      if (!utf8 && static_cast<unsigned char>(c) >= 0x80) std::abort();
    }
    const absl::StatusOr<Address> again = ParseAddress(text, utf8);
    if (!again.ok() || again->local_part != address->local_part ||
        again->domain != address->domain) {
      std::abort();
    }
  }
  return 0;
}
