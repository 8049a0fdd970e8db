#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/protocol/mail/address.h"
#include "services/protocol/mail/header.h"

namespace {

void CheckList(absl::string_view value) {
  const auto addresses = postern::mail::ParseAddressList(value);
  if (!addresses.ok()) return;
  for (const std::string& address : *addresses) {
    if (!postern::mail::ParseAddress(address, /*allow_utf8=*/true).ok()) std::abort();
  }
}

}  // namespace

// Fields lie within the input, one after the other; lists give addresses or nothing.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const char* last = input.data();
  for (const postern::mail::HeaderField& field : postern::mail::ParseHeader(input)) {
    if (field.name.empty() || field.name.data() < last) std::abort();
    if (field.value.data() <= field.name.data()) std::abort();
    last = field.value.data() + field.value.size();
    if (last > input.data() + size) std::abort();
    CheckList(field.value);
  }
  CheckList(input);
  return 0;
}
