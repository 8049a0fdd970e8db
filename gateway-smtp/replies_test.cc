#include "gateway-smtp/replies.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "services/clients/content_fault.h"

namespace postern::gateway_smtp {
namespace {

std::string Codes(const smtp::Reply& reply) {
  return absl::StrCat(reply.code, " ", reply.enhanced);
}

TEST(RepliesTest, RefusalsAsTheContractSays) {
  const struct {
    relay::v1::Refusal refusal;
    Question question;
    const char* codes;
  } kCases[] = {
      {relay::v1::REFUSAL_CLIENT, Question::kConnection, "554 5.7.1"},
      {relay::v1::REFUSAL_CLIENT_TEMPORARY, Question::kConnection, "421 4.7.0"},
      {relay::v1::REFUSAL_CLIENT_TEMPORARY, Question::kSender, "450 4.7.1"},
      {relay::v1::REFUSAL_GREYLISTED, Question::kRecipient, "451 4.7.1"},
      {relay::v1::REFUSAL_RELAYING, Question::kRecipient, "550 5.7.1"},
      {relay::v1::REFUSAL_UNKNOWN_USER, Question::kRecipient, "550 5.1.1"},
      {relay::v1::REFUSAL_DISABLED, Question::kRecipient, "550 5.2.1"},
      {relay::v1::REFUSAL_MAILBOX_FULL, Question::kRecipient, "452 4.2.2"},
      {relay::v1::REFUSAL_MAY_NOT_SEND_AS, Question::kSender, "550 5.7.1"},
      {relay::v1::REFUSAL_BAD_ADDRESS, Question::kSender, "553 5.1.7"},
      {relay::v1::REFUSAL_BAD_ADDRESS, Question::kRecipient, "553 5.1.3"},
      {static_cast<relay::v1::Refusal>(99), Question::kRecipient, "451 4.3.0"},
  };
  for (const auto& c : kCases) EXPECT_EQ(Codes(ReplyTo(c.refusal, c.question)), c.codes);
}

TEST(RepliesTest, StatusesByQuestion) {
  const struct {
    absl::Status status;
    Question question;
    const char* codes;
  } kCases[] = {
      {absl::UnavailableError(""), Question::kConnection, "421 4.3.0"},
      {absl::UnavailableError(""), Question::kRecipient, "451 4.3.0"},
      {absl::UnavailableError(""), Question::kDeliver, "451 4.3.0"},
      {absl::DeadlineExceededError(""), Question::kEnqueue, "451 4.3.0"},
      {absl::ResourceExhaustedError(""), Question::kDeliver, "452 4.2.2"},
      {absl::ResourceExhaustedError(""), Question::kEnqueue, "452 4.3.1"},
      {absl::ResourceExhaustedError(""), Question::kRecipient, "451 4.3.0"},
      {absl::InvalidArgumentError(""), Question::kDeliver, "554 5.6.0"},
      {absl::InvalidArgumentError(""), Question::kEnqueue, "554 5.6.0"},
      // Ours or the service's mistake, not the client's.
      {absl::InvalidArgumentError(""), Question::kRecipient, "451 4.3.0"},
      {absl::PermissionDeniedError(""), Question::kEnqueue, "550 5.7.1"},
      {absl::PermissionDeniedError(""), Question::kDeliver, "451 4.3.0"},
      {absl::UnauthenticatedError(""), Question::kSender, "421 4.7.0"},
      {absl::UnauthenticatedError(""), Question::kEnqueue, "421 4.7.0"},
      {absl::UnauthenticatedError(""), Question::kDeliver, "451 4.3.0"},
      {absl::AlreadyExistsError(""), Question::kDeliver, "451 4.3.0"},
      // A recipient that vanished between RCPT and the commit.
      {absl::AbortedError(""), Question::kDeliver, "451 4.3.0"},
      // RFC 3463 3.4 X.3.1.
      {absl::FailedPreconditionError("the disk is full"), Question::kDeliver, "452 4.3.1"},
      {absl::FailedPreconditionError("the account's rate"), Question::kEnqueue, "450 4.7.1"},
      {absl::NotFoundError(""), Question::kDeliver, "451 4.3.0"},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(Codes(ReplyTo(c.status, c.question)), c.codes) << c.status;
  }
}

TEST(RepliesTest, NoWordOfAServiceReachesAClient) {
  for (const Question question : {Question::kConnection, Question::kSender, Question::kRecipient,
                                  Question::kDeliver, Question::kEnqueue}) {
    for (int code = 1; code <= 16; ++code) {
      const smtp::Reply reply =
          ReplyTo(absl::Status(static_cast<absl::StatusCode>(code), "secret"), question);
      EXPECT_FALSE(absl::StrContains(reply.text, "secret"));
      EXPECT_GE(reply.code, 400);
      // RFC 3463 2: the classes agree.
      EXPECT_EQ(reply.enhanced[0] - '0', reply.code / 100);
    }
  }
}

TEST(RepliesTest, AuthenticationFailures) {
  using auth::v1::AuthenticateResponse;
  EXPECT_EQ(Codes(ReplyTo(AuthenticateResponse::REASON_INVALID_CREDENTIALS)), "535 5.7.8");
  EXPECT_EQ(Codes(ReplyTo(AuthenticateResponse::REASON_UNKNOWN_MECHANISM)), "504 5.5.4");
  EXPECT_EQ(Codes(ReplyTo(AuthenticateResponse::REASON_MALFORMED)), "501 5.5.2");
  EXPECT_EQ(Codes(ReplyTo(AuthenticateResponse::REASON_TEMPORARY)), "454 4.7.0");
  EXPECT_EQ(Codes(ReplyTo(AuthenticateResponse::REASON_UNSPECIFIED)), "454 4.7.0");
}

TEST(RepliesTest, EachFaultOfTheContentHasItsWords) {
  using relay::v1::ContentFault;
  const struct {
    ContentFault::Kind kind;
    const char* field;
    const char* reply;
  } cases[] = {
      {ContentFault::KIND_NO_FIELD, "",
       "554 5.6.0 The header has a line that is no field (RFC 5322 2.2)\r\n"},
      {ContentFault::KIND_HEADER_TOO_LARGE, "", "554 5.6.0 The header is over 256 KiB\r\n"},
      {ContentFault::KIND_REPEATED, "From",
       "554 5.6.0 The From field stands more than once (RFC 5322 3.6)\r\n"},
      {ContentFault::KIND_NOT_UTF8, "Sender",
       "554 5.6.0 The Sender field is neither ASCII nor UTF-8 (RFC 2047, RFC 6532)\r\n"},
      {ContentFault::KIND_UNREADABLE, "Resent-From",
       "554 5.6.0 The Resent-From field is no list of addresses (RFC 5322 3.4)\r\n"},
      {ContentFault::KIND_NO_ADDRESS, "From", "554 5.6.0 The From field has no address\r\n"},
      {ContentFault::KIND_MISSING, "From", "554 5.6.0 The From field is missing\r\n"},
      {ContentFault::KIND_TOO_MANY_ADDRESSES, "",
       "554 5.6.0 The From and Sender fields have too many addresses\r\n"},
      {ContentFault::KIND_BARE_LINE_END, "",
       "554 5.6.0 Bare CR or LF in the message (RFC 5321 2.3.8)\r\n"},
      {ContentFault::KIND_TOO_LARGE, "", "552 5.3.4 Message size exceeds the limit\r\n"},
      // A service's words never reach a client.
      {ContentFault::KIND_MISSING, "secret", "554 5.6.0 The header field is missing\r\n"},
      {static_cast<ContentFault::Kind>(99), "x", "554 5.6.0 Message content not accepted\r\n"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ReplyTo(clients::ContentFaultError(c.kind, c.field), Question::kEnqueue).ToWire(),
              c.reply);
  }
}

}  // namespace
}  // namespace postern::gateway_smtp
