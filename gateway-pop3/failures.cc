#include "gateway-pop3/failures.h"

namespace postern::gateway_pop3 {

using auth::v1::AuthenticateResponse;
using pop3::Failure;

Failure FailureOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kAborted:
      return Failure::kInUse;
    // The same call will fail tomorrow, too: the message is gone, or somebody must set something
    // right.
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kDataLoss:
      return Failure::kPermanent;
    // Away, busy, late, broken, or the lease is lost: a new session may succeed. That a token which
    // was just signed is not good (UNAUTHENTICATED) says nothing of the user's password.
    default:
      return Failure::kTemporary;
  }
}

Failure FailureOf(AuthenticateResponse::Reason reason) {
  switch (reason) {
    case AuthenticateResponse::REASON_INVALID_CREDENTIALS:
    case AuthenticateResponse::REASON_MALFORMED:
    case AuthenticateResponse::REASON_CANCELLED:
      return Failure::kAuth;
    case AuthenticateResponse::REASON_UNKNOWN_MECHANISM:
      return Failure::kPermanent;
    default:
      return Failure::kTemporary;
  }
}

}  // namespace postern::gateway_pop3
