#include "relay-svc/domain/dsn.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "relay-svc/domain/mail_date.h"
#include "services/text/utf8.h"

namespace postern::relay {
namespace {

using Action = ReportedRecipient::Action;

// One line of a header field: what a remote host said must not end it.
std::string OneLine(absl::string_view text) {
  std::string line;
  for (const char c : text) line += absl::ascii_iscntrl(c) ? ' ' : c;
  // RFC 5322 2.1.1: 998 octets a line.
  if (line.size() > 800) line.resize(800);
  return line;
}

// The header section of `message`, whole lines, at most kMaxReturnedHeaderOctets.
absl::string_view HeaderOf(absl::string_view message) {
  size_t end = 0;
  while (end < message.size()) {
    const size_t next = message.find("\r\n", end);
    if (next == absl::string_view::npos || next == end) break;
    if (next + 2 > kMaxReturnedHeaderOctets) break;
    end = next + 2;
  }
  return message.substr(0, end);
}

std::vector<ReportedRecipient> With(Action action, const DeliveryNotice& notice) {
  std::vector<ReportedRecipient> recipients;
  std::copy_if(notice.recipients.begin(), notice.recipients.end(), std::back_inserter(recipients),
               [action](const ReportedRecipient& one) { return one.action == action; });
  return recipients;
}

// For people: each address and what was said.
void AppendReasons(const std::vector<ReportedRecipient>& recipients, std::string* out) {
  for (const ReportedRecipient& recipient : recipients) {
    absl::StrAppend(out, "  <", recipient.address, ">\r\n    ");
    if (!recipient.remote_mta.empty()) {
      absl::StrAppend(out, recipient.remote_mta, recipient.is_reply ? " said: " : ": ");
    }
    absl::StrAppend(out, OneLine(recipient.diagnostic), "\r\n\r\n");
  }
}

}  // namespace

bool NeedsUtf8(const DeliveryNotice& notice) {
  return !text::IsAscii(notice.sender) ||
         std::any_of(notice.recipients.begin(), notice.recipients.end(),
                     [](const ReportedRecipient& r) { return !text::IsAscii(r.address); });
}

std::string BuildDeliveryNotice(const DeliveryNotice& notice) {
  const bool utf8 = NeedsUtf8(notice);
  const std::vector<ReportedRecipient> failed = With(Action::kFailed, notice);
  const std::vector<ReportedRecipient> delayed = With(Action::kDelayed, notice);
  const std::string boundary = absl::StrCat("postern-", notice.unique);
  const absl::string_view header = HeaderOf(notice.message);
  std::string out;
  absl::StrAppend(&out, "Date: ", MailDate(notice.attempted_at), "\r\n");
  absl::StrAppend(&out, "From: Mail Delivery System <MAILER-DAEMON@", notice.hostname, ">\r\n");
  absl::StrAppend(&out, "To: <", notice.sender, ">\r\n");
  absl::StrAppend(&out, "Subject: ",
                  failed.empty() ? "Delayed mail, which is still being tried"
                                 : "Undelivered mail returned to sender",
                  "\r\n");
  absl::StrAppend(&out, "Message-ID: <", notice.unique, "@", notice.hostname, ">\r\n");
  // RFC 3834 5: nobody answers this automatically.
  absl::StrAppend(&out, "Auto-Submitted: auto-replied\r\n");
  absl::StrAppend(&out, "MIME-Version: 1.0\r\n");
  absl::StrAppend(&out, "Content-Type: multipart/report; report-type=",
                  utf8 ? "global-delivery-status" : "delivery-status", ";\r\n boundary=\"",
                  boundary, "\"\r\n\r\n");

  absl::StrAppend(&out, "--", boundary, "\r\nContent-Type: text/plain; charset=utf-8\r\n");
  absl::StrAppend(&out, "Content-Transfer-Encoding: 8bit\r\n\r\n");
  absl::StrAppend(&out, "This is the mail system at ", notice.hostname, ".\r\n\r\n");
  if (!failed.empty()) {
    absl::StrAppend(&out, "Your message could not be delivered to:\r\n\r\n");
    AppendReasons(failed, &out);
    absl::StrAppend(&out, "No further attempt will be made.\r\n");
  }
  if (!delayed.empty()) {
    absl::StrAppend(&out, failed.empty() ? "" : "\r\n",
                    "Your message could not yet be delivered to:\r\n\r\n");
    AppendReasons(delayed, &out);
    absl::StrAppend(&out, "It is tried until ", MailDate(notice.expires_at),
                    ". You need not send it again.\r\n");
  }
  absl::StrAppend(&out, "\r\nThe header of your message follows.\r\n");

  absl::StrAppend(&out, "\r\n--", boundary, "\r\nContent-Type: message/",
                  utf8 ? "global-delivery-status" : "delivery-status", "\r\n");
  if (utf8) absl::StrAppend(&out, "Content-Transfer-Encoding: 8bit\r\n");
  absl::StrAppend(&out, "\r\nReporting-MTA: dns; ", notice.hostname, "\r\n");
  absl::StrAppend(&out, "X-Postern-Queue-ID: ", notice.queue_id, "\r\n");
  absl::StrAppend(&out, "Arrival-Date: ", MailDate(notice.arrived_at), "\r\n");
  for (const ReportedRecipient& recipient : notice.recipients) {
    absl::StrAppend(&out,
                    "\r\nFinal-Recipient: ", text::IsAscii(recipient.address) ? "rfc822" : "utf-8",
                    "; ", recipient.address, "\r\n");
    const bool is_delayed = recipient.action == Action::kDelayed;
    absl::StrAppend(&out, "Action: ", is_delayed ? "delayed" : "failed",
                    "\r\nStatus: ", recipient.status, "\r\n");
    if (!recipient.remote_mta.empty()) {
      absl::StrAppend(&out, "Remote-MTA: dns; ", recipient.remote_mta, "\r\n");
    }
    absl::StrAppend(&out, "Diagnostic-Code: ", recipient.is_reply ? "smtp" : "x-postern", "; ",
                    OneLine(recipient.diagnostic), "\r\n");
    absl::StrAppend(&out, "Last-Attempt-Date: ", MailDate(notice.attempted_at), "\r\n");
    if (is_delayed) {
      absl::StrAppend(&out, "Will-Retry-Until: ", MailDate(notice.expires_at), "\r\n");
    }
  }

  const bool global_header = utf8 && !text::IsAscii(header);
  absl::StrAppend(&out, "\r\n--", boundary, "\r\nContent-Type: ",
                  global_header ? "message/global-headers" : "text/rfc822-headers", "\r\n");
  if (!text::IsAscii(header)) absl::StrAppend(&out, "Content-Transfer-Encoding: 8bit\r\n");
  absl::StrAppend(&out, "\r\n", header, "\r\n--", boundary, "--\r\n");
  return out;
}

}  // namespace postern::relay
