// Domains of recipients as the DNS has them, and addresses as hosts without SMTPUTF8 take them.
#ifndef POSTERN_RELAY_SVC_DOMAIN_DESTINATION_H_
#define POSTERN_RELAY_SVC_DOMAIN_DESTINATION_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::relay {

// A domain in A-labels (RFC 5890), lower case; an address literal ("[192.0.2.1]") stays one.
// INVALID_ARGUMENT: neither.
absl::StatusOr<std::string> DestinationOf(absl::string_view domain);

// The address in a literal: "192.0.2.1", "2001:db8::1"; nullopt: a domain.
std::optional<std::string> LiteralOf(absl::string_view destination);

// `address` with its domain in A-labels when its local part is ASCII; else as it is. "" is "".
std::string ForAsciiHosts(absl::string_view address);

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_DESTINATION_H_
