// The one spelling of a domain and of an address under which the directory knows them.
#ifndef POSTERN_AUTH_SVC_DOMAIN_CANONICAL_H_
#define POSTERN_AUTH_SVC_DOMAIN_CANONICAL_H_

#include <string>
#include <tuple>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::auth {

// An address in canonical form. Only the functions here and the database make one.
struct Address {
  // Empty: a catch-all, which an alias alone may be. Unquoted; ASCII is lower case, but elsewhere
  // (ForwardAddress). Octets beyond ASCII are compared as they are.
  std::string local_part;
  // A-labels, lower case.
  std::string domain;

  // local-part@domain, quoted where it must be (RFC 5321 4.1.2); "@domain".
  std::string ToString() const;

  friend bool operator==(const Address& a, const Address& b) = default;
  friend bool operator<(const Address& a, const Address& b) {
    return std::tie(a.domain, a.local_part) < std::tie(b.domain, b.local_part);
  }
  template <typename H>
  friend H AbslHashValue(H h, const Address& a) {
    return H::combine(std::move(h), a.domain, a.local_part);
  }
};

// A host name (RFC 1123) in A-labels and lower case; U-labels go through UTS #46 (non-transitional)
// and IDNA2008. A trailing dot is dropped. INVALID_ARGUMENT is a sentence for an operator.
absl::StatusOr<std::string> CanonicalDomain(absl::string_view text);

// local-part@domain, without angle brackets. An address literal's domain ("[192.0.2.1]") is kept as
// it is: no local domain can equal it. So are A-labels, valid or not. INVALID_ARGUMENT is a
// sentence for an operator.
absl::StatusOr<Address> CanonicalAddress(absl::string_view text);

// The same, or "@domain": an alias of that name has every address of the domain that nothing else
// has.
absl::StatusOr<Address> CanonicalAliasAddress(absl::string_view text);

// As CanonicalAddress, of an address that is not ours: its local part stays as it is, for only its
// own host may say that case does not matter (RFC 5321 2.4).
absl::StatusOr<Address> ForwardAddress(absl::string_view text);

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_CANONICAL_H_
