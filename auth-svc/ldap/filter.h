// Addresses in LDAP filters and names.
#ifndef POSTERN_AUTH_SVC_LDAP_FILTER_H_
#define POSTERN_AUTH_SVC_LDAP_FILTER_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "auth-svc/domain/canonical.h"

namespace postern::auth::ldap {

// An assertion value (RFC 4515 3): what has a meaning in a filter, and all beyond ASCII, escaped.
std::string EscapeFilterValue(absl::string_view value);
// An attribute value in a DN (RFC 4514 2.4).
std::string EscapeDnValue(absl::string_view value);

// `pattern` with %s: the address without quotes, %u: its local part, %d: its domain, %%: a per cent
// sign; each as `escape` has it.
std::string Expand(absl::string_view pattern, const Address& address,
                   std::string (*escape)(absl::string_view));

// INVALID_ARGUMENT is a sentence without the setting's name: a letter that means nothing, or none
// of %s and %u, so that everybody would be the same.
absl::Status CheckPattern(absl::string_view pattern);

// INVALID_ARGUMENT: with an address put in, it is no filter (RFC 4515).
absl::Status CheckFilter(absl::string_view pattern);

}  // namespace postern::auth::ldap

#endif  // POSTERN_AUTH_SVC_LDAP_FILTER_H_
