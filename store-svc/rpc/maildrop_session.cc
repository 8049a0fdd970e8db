#include "store-svc/rpc/maildrop_session.h"

#include "grpcpp/server_context.h"
#include "services/crypto/sha256.h"
#include "services/rpc/context.h"
#include "services/telemetry/log.h"

namespace postern::store {

std::string Credential(const grpc::CallbackServerContext& context, absl::string_view token,
                       absl::string_view session_nonce) {
  crypto::Sha256 hash;
  hash.Field(rpc::CallerIdentity(context));
  hash.Field(session_nonce);
  hash.Update(token);
  return hash.Finish();
}

absl::StatusOr<MailboxId> VerifyToken(const MaildropParts& parts,
                                      const grpc::CallbackServerContext& context,
                                      absl::string_view token, absl::string_view session_nonce,
                                      Expiry expiry) {
  const std::string caller = rpc::CallerIdentity(context);
  absl::StatusOr<token::v1::Claims> claims = parts.verifier->Verify(
      token, {.purpose = auth::v1::PURPOSE_MAILDROP,
              .gateway = caller,
              .session_nonce = session_nonce,
              .now = expiry == Expiry::kMinds ? parts.clock() : absl::InfinitePast()});
  absl::StatusOr<MailboxId> mailbox =
      claims.ok() ? MailboxId::Parse(claims->mailbox_id()) : claims.status();
  if (!mailbox.ok()) {
    telemetry::Log(telemetry::LogLevel::kWarning, "token refused",
                   {{"trace", rpc::ReadCallContext(context).trace.trace_id},
                    {"caller", caller},
                    {"status", mailbox.status().ToString()}});
    return absl::UnauthenticatedError("the token is not good");
  }
  return mailbox;
}

absl::Status AnswerToRefused(const MaildropParts& parts, const grpc::CallbackServerContext& context,
                             absl::string_view token, absl::string_view session_nonce,
                             const absl::Status& refused) {
  if (!absl::IsFailedPrecondition(refused)) return refused;
  absl::StatusOr<MailboxId> verified = VerifyToken(parts, context, token, session_nonce);
  return verified.ok() ? refused : verified.status();
}

}  // namespace postern::store
