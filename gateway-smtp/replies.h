// The one table that turns what services answer into what clients are told. No other words of a
// service reach a client.
#ifndef POSTERN_GATEWAY_SMTP_REPLIES_H_
#define POSTERN_GATEWAY_SMTP_REPLIES_H_

#include "absl/status/status.h"
#include "proto/postern/auth/v1/authentication.pb.h"
#include "proto/postern/relay/v1/policy.pb.h"
#include "services/protocol/smtp/reply.h"

namespace postern::gateway_smtp {

// What was asked.
enum class Question { kConnection, kSender, kRecipient, kDeliver, kForward, kEnqueue };

// `refusal` is not REFUSAL_UNSPECIFIED.
smtp::Reply ReplyTo(relay::v1::Refusal refusal, Question question);

// `status` is not OK. What a service doesn't answer, or answers for its own trouble, is temporary:
// nothing is lost by trying again.
smtp::Reply ReplyTo(const absl::Status& status, Question question);

smtp::Reply ReplyTo(auth::v1::AuthenticateResponse::Reason reason);
// The service did not answer AUTH.
smtp::Reply AuthenticationUnavailable();

// The token is too old, or the service doesn't take it.
smtp::Reply LogInAgain();

}  // namespace postern::gateway_smtp

#endif  // POSTERN_GATEWAY_SMTP_REPLIES_H_
