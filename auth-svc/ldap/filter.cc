#include "auth-svc/ldap/filter.h"

#include <ldap.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace postern::auth::ldap {
namespace {

// A backslash and two hexadecimal digits for each of `special`, and for all but printable ASCII.
std::string Escape(absl::string_view value, absl::string_view special) {
  std::string escaped;
  for (const char c : value) {
    const unsigned char octet = static_cast<unsigned char>(c);
    if (octet < 0x20 || octet >= 0x7f || special.find(c) != absl::string_view::npos) {
      absl::StrAppend(&escaped, "\\", absl::BytesToHexString(absl::string_view(&c, 1)));
    } else {
      escaped.push_back(c);
    }
  }
  return escaped;
}

}  // namespace

std::string EscapeFilterValue(absl::string_view value) { return Escape(value, "*()\\"); }

// A space and '#' need it at an end only; more of it does no harm.
std::string EscapeDnValue(absl::string_view value) { return Escape(value, "\"+,;<>\\=# "); }

std::string Expand(absl::string_view pattern, const Address& address,
                   std::string (*escape)(absl::string_view)) {
  std::string expanded;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%' || i + 1 == pattern.size()) {
      expanded.push_back(pattern[i]);
      continue;
    }
    switch (pattern[++i]) {
      case 's':
        absl::StrAppend(&expanded, escape(absl::StrCat(address.local_part, "@", address.domain)));
        break;
      case 'u':
        absl::StrAppend(&expanded, escape(address.local_part));
        break;
      case 'd':
        absl::StrAppend(&expanded, escape(address.domain));
        break;
      default:
        expanded.push_back(pattern[i]);
    }
  }
  return expanded;
}

absl::Status CheckPattern(absl::string_view pattern) {
  bool names_somebody = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%') continue;
    const char letter = i + 1 < pattern.size() ? pattern[++i] : '\0';
    if (letter != 's' && letter != 'u' && letter != 'd' && letter != '%') {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", pattern, "\": after % comes s (the address), u (its local part), ",
                       "d (its domain) or %"));
    }
    names_somebody = names_somebody || letter == 's' || letter == 'u';
  }
  if (names_somebody) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("\"", pattern, "\": has neither %s (the address) nor %u (its local part), so ",
                   "everybody would be the same"));
}

absl::Status CheckFilter(absl::string_view pattern) {
  const std::string filter = Expand(pattern, {"somebody", "example.org"}, &EscapeFilterValue);
  // libldap reads a filter when it sends it, before it connects; here, to nothing.
  LDAP* nowhere = nullptr;
  if (ldap_initialize(&nowhere, "ldapi://%2fnonexistent") != LDAP_SUCCESS) {
    return absl::InternalError("libldap cannot be initialised");
  }
  int id = 0;
  const int sent = ldap_search_ext(nowhere, "", LDAP_SCOPE_BASE, filter.c_str(), nullptr, 0,
                                   nullptr, nullptr, nullptr, 0, &id);
  ldap_unbind_ext(nowhere, nullptr, nullptr);
  const bool good = sent != LDAP_FILTER_ERROR;
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("\"", pattern, "\": is no LDAP filter: look at its parentheses"));
}

}  // namespace postern::auth::ldap
