// Date and time as mail headers have them: RFC 5322 3.3.
#ifndef POSTERN_RELAY_SVC_DOMAIN_MAIL_DATE_H_
#define POSTERN_RELAY_SVC_DOMAIN_MAIL_DATE_H_

#include <string>

#include "absl/time/time.h"

namespace postern::relay {

// In UTC: "Tue, 24 Nov 2026 23:12:54 +0000".
inline std::string MailDate(absl::Time time) {
  return absl::FormatTime("%a, %d %b %Y %H:%M:%S +0000", time, absl::UTCTimeZone());
}

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_MAIL_DATE_H_
