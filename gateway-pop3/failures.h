// The one table that turns what a service said into what POP3 can say. No word of a service reaches
// a client.
#ifndef POSTERN_GATEWAY_POP3_FAILURES_H_
#define POSTERN_GATEWAY_POP3_FAILURES_H_

#include "absl/status/status.h"
#include "proto/postern/auth/v1/authentication.pb.h"
#include "services/protocol/pop3/server_session.h"

namespace postern::gateway_pop3 {

// `status` is not OK.
pop3::Failure FailureOf(const absl::Status& status);
pop3::Failure FailureOf(auth::v1::AuthenticateResponse::Reason reason);

}  // namespace postern::gateway_pop3

#endif  // POSTERN_GATEWAY_POP3_FAILURES_H_
