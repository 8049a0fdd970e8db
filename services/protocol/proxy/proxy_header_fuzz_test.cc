#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <variant>

#include "absl/strings/string_view.h"
#include "services/protocol/proxy/proxy_header.h"

// What is a header is one however it is cut: incomplete before its end, the same with more after
// it.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using postern::proxy::Header;
  using postern::proxy::Incomplete;
  using postern::proxy::ParseHeader;
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const auto whole = ParseHeader(input);
  if (std::holds_alternative<Incomplete>(whole)) {
    if (size >= postern::proxy::kMaxHeaderOctets) std::abort();
    return 0;
  }
  if (const Header* header = std::get_if<Header>(&whole)) {
    if (header->octets > size || header->octets > postern::proxy::kMaxHeaderOctets) std::abort();
    if (header->local != header->source.address.empty()) std::abort();
    if (!std::holds_alternative<Header>(ParseHeader(input.substr(0, header->octets)))) std::abort();
    for (size_t i = 0; i < header->octets; ++i) {
      if (!std::holds_alternative<Incomplete>(ParseHeader(input.substr(0, i)))) std::abort();
    }
  }
  return 0;
}
