// Application passwords: one for each program of a person's, random, so that it can be revoked
// alone and what is kept of it needs no work factor.
#ifndef POSTERN_AUTH_SVC_DOMAIN_APP_PASSWORD_H_
#define POSTERN_AUTH_SVC_DOMAIN_APP_PASSWORD_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace postern::auth {

// 120 random bits as "abcd-efgh-ijkl-mnop-qrst-uvwx" (RFC 4648 6, lower case).
std::string NewAppPassword();

// What is kept of one, 64 hexadecimal digits; nullopt: none could be written so. Case, blanks and
// dashes do not count.
std::optional<std::string> AppPasswordHash(absl::string_view account_id,
                                           absl::string_view password);

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_APP_PASSWORD_H_
