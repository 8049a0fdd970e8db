// Delivery status notifications of failure: RFC 3464, RFC 3462 (multipart/report), RFC 6533 for
// addresses in UTF-8.
#ifndef POSTERN_RELAY_SVC_DOMAIN_DSN_H_
#define POSTERN_RELAY_SVC_DOMAIN_DSN_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace postern::relay {

// The header of the failed message that goes back is cut at this size.
inline constexpr size_t kMaxReturnedHeaderOctets = 32 << 10;

struct FailedRecipient {
  std::string address;
  // RFC 3463, "5.1.1".
  std::string status;
  // One line; of the remote host when `is_reply`, else our own words.
  std::string diagnostic;
  bool is_reply = false;
  std::string remote_mta;
};

struct FailureNotice {
  // Our name: Reporting-MTA, and the domain of MAILER-DAEMON.
  std::string hostname;
  // Whom it is for: the envelope sender of the failed message. Never empty.
  std::string sender;
  // Of the failed message.
  std::string queue_id;
  absl::Time arrived_at;
  absl::Time failed_at;
  std::vector<FailedRecipient> recipients;
  // The start of the failed message; what follows its header is not used.
  absl::string_view message;
  // 32 random hexadecimal digits: Message-ID and MIME boundary.
  std::string unique;
};

// Whether it needs SMTPUTF8 on its way.
bool NeedsUtf8(const FailureNotice& notice);

// The whole message, CRLF line ends.
std::string BuildFailureNotice(const FailureNotice& notice);

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_DSN_H_
