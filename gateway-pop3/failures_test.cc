#include "gateway-pop3/failures.h"

#include "gtest/gtest.h"

namespace postern::gateway_pop3 {
namespace {

using auth::v1::AuthenticateResponse;
using pop3::Failure;

TEST(FailuresTest, OfStatuses) {
  const struct {
    absl::StatusCode code;
    Failure failure;
  } kCases[] = {
      {absl::StatusCode::kAborted, Failure::kInUse},
      {absl::StatusCode::kNotFound, Failure::kPermanent},
      {absl::StatusCode::kInvalidArgument, Failure::kPermanent},
      {absl::StatusCode::kPermissionDenied, Failure::kPermanent},
      {absl::StatusCode::kDataLoss, Failure::kPermanent},
      {absl::StatusCode::kUnimplemented, Failure::kPermanent},
      {absl::StatusCode::kUnavailable, Failure::kTemporary},
      {absl::StatusCode::kDeadlineExceeded, Failure::kTemporary},
      {absl::StatusCode::kResourceExhausted, Failure::kTemporary},
      {absl::StatusCode::kFailedPrecondition, Failure::kTemporary},
      {absl::StatusCode::kUnauthenticated, Failure::kTemporary},
      {absl::StatusCode::kCancelled, Failure::kTemporary},
      {absl::StatusCode::kInternal, Failure::kTemporary},
      {absl::StatusCode::kUnknown, Failure::kTemporary},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(FailureOf(absl::Status(c.code, "words")), c.failure)
        << absl::StatusCodeToString(c.code);
  }
}

TEST(FailuresTest, OfLogins) {
  EXPECT_EQ(FailureOf(AuthenticateResponse::REASON_INVALID_CREDENTIALS), Failure::kAuth);
  EXPECT_EQ(FailureOf(AuthenticateResponse::REASON_MALFORMED), Failure::kAuth);
  EXPECT_EQ(FailureOf(AuthenticateResponse::REASON_UNKNOWN_MECHANISM), Failure::kPermanent);
  EXPECT_EQ(FailureOf(AuthenticateResponse::REASON_TEMPORARY), Failure::kTemporary);
  EXPECT_EQ(FailureOf(AuthenticateResponse::REASON_UNSPECIFIED), Failure::kTemporary);
}

}  // namespace
}  // namespace postern::gateway_pop3
