#include "gateway-smtp/replies.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/clients/content_fault.h"

namespace postern::gateway_smtp {

using absl::StatusCode;
using auth::v1::AuthenticateResponse;
using relay::v1::ContentFault;
using smtp::Reply;

Reply ReplyTo(relay::v1::Refusal refusal, Question question) {
  switch (refusal) {
    case relay::v1::REFUSAL_CLIENT:
      return {554, "5.7.1", "Your network may not send mail here"};
    case relay::v1::REFUSAL_CLIENT_TEMPORARY:
      // RFC 5321 3.8: 421 is what closes.
      return {question == Question::kConnection ? 421 : 450,
              question == Question::kConnection ? "4.7.0" : "4.7.1",
              "Too much from your network, try again later"};
    case relay::v1::REFUSAL_GREYLISTED:
      return {451, "4.7.1", "Greylisted, try again later"};
    case relay::v1::REFUSAL_RELAYING:
      return {550, "5.7.1", "Relaying denied"};
    case relay::v1::REFUSAL_UNKNOWN_USER:
      return {550, "5.1.1", "No such user here"};
    case relay::v1::REFUSAL_DISABLED:
      return {550, "5.2.1", "Mailbox disabled"};
    case relay::v1::REFUSAL_MAILBOX_FULL:
      return {452, "4.2.2", "Mailbox full"};
    case relay::v1::REFUSAL_MAY_NOT_SEND_AS:
      return {550, "5.7.1", "You may not send as this address"};
    case relay::v1::REFUSAL_BAD_ADDRESS:
      return question == Question::kSender ? Reply{553, "5.1.7", "Bad sender address"}
                                           : Reply{553, "5.1.3", "Bad recipient address"};
    default:
      // A reason of a newer service: refused, but not for ever on our word alone.
      return {451, "4.3.0", "Not accepted now, try again later"};
  }
}

namespace {

// The field's name as it may stand in a reply: only what a service could mean.
absl::string_view FieldName(const ContentFault& fault) {
  for (const absl::string_view name : {"From", "Sender", "Resent-From", "Resent-Sender"}) {
    if (fault.field() == name) return name;
  }
  return "header";
}

Reply ReplyTo(const ContentFault& fault) {
  const absl::string_view field = FieldName(fault);
  const auto content = [](auto... words) { return Reply{554, "5.6.0", absl::StrCat(words...)}; };
  switch (fault.kind()) {
    case ContentFault::KIND_NO_FIELD:
      return content("The header has a line that is no field (RFC 5322 2.2)");
    case ContentFault::KIND_HEADER_TOO_LARGE:
      return content("The header is over 256 KiB");
    case ContentFault::KIND_REPEATED:
      return content("The ", field, " field stands more than once (RFC 5322 3.6)");
    case ContentFault::KIND_NOT_UTF8:
      return content("The ", field, " field is neither ASCII nor UTF-8 (RFC 2047, RFC 6532)");
    case ContentFault::KIND_UNREADABLE:
      return content("The ", field, " field is no list of addresses (RFC 5322 3.4)");
    case ContentFault::KIND_NO_ADDRESS:
      return content("The ", field, " field has no address");
    case ContentFault::KIND_MISSING:
      return content("The ", field, " field is missing");
    case ContentFault::KIND_TOO_MANY_ADDRESSES:
      return content("The From and Sender fields have too many addresses");
    case ContentFault::KIND_BARE_LINE_END:
      return content("Bare CR or LF in the message (RFC 5321 2.3.8)");
    case ContentFault::KIND_TOO_LARGE:
      return {552, "5.3.4", "Message size exceeds the limit"};
    case ContentFault::KIND_LOOP:
      return {554, "5.4.6", "Message loops: it has come by here too often"};
    default:
      return content("Message content not accepted");
  }
}

}  // namespace

Reply ReplyTo(const absl::Status& status, Question question) {
  // RFC 5321 3.8: 421 is what closes; at the greeting there is nothing else to go on with.
  if (question == Question::kConnection) {
    return {421, "4.3.0", "Service not available, closing connection"};
  }
  const bool with_token = question == Question::kSender || question == Question::kRecipient ||
                          question == Question::kEnqueue;
  if (status.code() == StatusCode::kUnauthenticated && with_token) return LogInAgain();
  if (question == Question::kEnqueue && status.code() == StatusCode::kPermissionDenied) {
    return {550, "5.7.1", "You may not send as this address"};
  }
  const bool body = question == Question::kDeliver || question == Question::kForward ||
                    question == Question::kEnqueue;
  if (const std::optional<ContentFault> fault = clients::ContentFaultOf(status);
      fault.has_value()) {
    return ReplyTo(*fault);
  }
  if (body && status.code() == StatusCode::kInvalidArgument) {
    return {554, "5.6.0", "Message not accepted"};
  }
  if (body && status.code() == StatusCode::kResourceExhausted) {
    // RFC 3463 3.3 X.2.2: a full mailbox may be emptied, so 4xx; X.3.1: the queue is full.
    return question == Question::kDeliver ? Reply{452, "4.2.2", "Mailbox full"}
                                          : Reply{452, "4.3.1", "Queue full, try again later"};
  }
  if (body && status.code() == StatusCode::kFailedPrecondition) {
    return question == Question::kEnqueue
               ? Reply{450, "4.7.1", "Too many recipients in a short time, try again later"}
               : Reply{452, "4.3.1", "Insufficient system storage"};
  }
  // ALREADY_EXISTS too: our delivery_id met another message's. The next try has a new one.
  return {451, "4.3.0", "Temporary failure, try again later"};
}

Reply ReplyTo(AuthenticateResponse::Reason reason) {
  switch (reason) {
    case AuthenticateResponse::REASON_INVALID_CREDENTIALS:
      return {535, "5.7.8", "Authentication credentials invalid"};
    case AuthenticateResponse::REASON_UNKNOWN_MECHANISM:
      return {504, "5.5.4", "Authentication mechanism not supported"};
    case AuthenticateResponse::REASON_MALFORMED:
      return {501, "5.5.2", "Malformed authentication response"};
    case AuthenticateResponse::REASON_CANCELLED:
      return {501, "5.7.0", "Authentication cancelled"};
    case AuthenticateResponse::REASON_TOO_MANY_FAILURES:
      return {454, "4.7.0", "Too many failed logins, try again later"};
    default:
      return AuthenticationUnavailable();
  }
}

// RFC 4954 6.
Reply AuthenticationUnavailable() { return {454, "4.7.0", "Temporary authentication failure"}; }

Reply LogInAgain() { return {421, "4.7.0", "Login expired, log in again"}; }

}  // namespace postern::gateway_smtp
