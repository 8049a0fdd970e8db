// Internationalised domain names (RFC 5890) as the DNS has them.
#ifndef POSTERN_SERVICES_TEXT_IDNA_H_
#define POSTERN_SERVICES_TEXT_IDNA_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::text {

// `domain`, which is UTF-8, in A-labels and lower case. U-labels go through UTS #46
// (non-transitional) and IDNA2008; A-labels must decode, and be what their U-labels encode to.
// A label may have any ASCII, as "_dmarc". INVALID_ARGUMENT: why not, in a few words.
absl::StatusOr<std::string> ToALabels(absl::string_view domain);

}  // namespace postern::text

#endif  // POSTERN_SERVICES_TEXT_IDNA_H_
