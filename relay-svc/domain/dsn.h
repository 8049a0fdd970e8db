// Delivery status notifications of failure and of delay: RFC 3464, RFC 3462 (multipart/report), RFC
// 6533 for addresses in UTF-8.
#ifndef POSTERN_RELAY_SVC_DOMAIN_DSN_H_
#define POSTERN_RELAY_SVC_DOMAIN_DSN_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace postern::relay {

// The header of the message that goes back is cut at this size.
inline constexpr size_t kMaxReturnedHeaderOctets = 32 << 10;

struct ReportedRecipient {
  // RFC 3464 2.3.3.
  enum class Action { kFailed, kDelayed };
  Action action = Action::kFailed;
  std::string address;
  // RFC 3463, "5.1.1".
  std::string status;
  // One line; of the remote host when `is_reply`, else our own words.
  std::string diagnostic;
  bool is_reply = false;
  std::string remote_mta;
};

struct DeliveryNotice {
  // Our name: Reporting-MTA, and the domain of MAILER-DAEMON.
  std::string hostname;
  // Whom it is for: the envelope sender of the message. Never empty.
  std::string sender;
  // Of the message.
  std::string queue_id;
  absl::Time arrived_at;
  absl::Time attempted_at;
  // Until when those that are delayed are tried.
  absl::Time expires_at;
  std::vector<ReportedRecipient> recipients;
  // The start of the message; what follows its header is not used.
  absl::string_view message;
  // 32 random hexadecimal digits: Message-ID and MIME boundary.
  std::string unique;
};

// Whether it needs SMTPUTF8 on its way.
bool NeedsUtf8(const DeliveryNotice& notice);

// The whole message, CRLF line ends.
std::string BuildDeliveryNotice(const DeliveryNotice& notice);

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_DSN_H_
