#include "services/text/idna.h"

#include <idn2.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"

namespace postern::text {
namespace {

struct Idn2Free {
  void operator()(char* text) const { idn2_free(text); }
};

}  // namespace

absl::StatusOr<std::string> ToALabels(absl::string_view domain) {
  // libidn2 would stop there.
  if (domain.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError("string contains a NUL");
  }
  // Not with IDN2_USE_STD3_ASCII_RULES: that drops a character that it forbids, and makes another
  // name.
  char* out = nullptr;
  const int rc =
      idn2_to_ascii_8z(std::string(domain).c_str(), &out, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
  const std::unique_ptr<char, Idn2Free> owned(out);
  if (rc != IDN2_OK) return absl::InvalidArgumentError(idn2_strerror(rc));
  return absl::AsciiStrToLower(out);
}

}  // namespace postern::text
