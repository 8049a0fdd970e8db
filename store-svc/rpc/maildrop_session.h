// What the calls of MaildropService share.
#ifndef POSTERN_STORE_SVC_RPC_MAILDROP_SESSION_H_
#define POSTERN_STORE_SVC_RPC_MAILDROP_SESSION_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/identity/token.h"
#include "services/process/clock.h"
#include "services/process/worker_pool.h"
#include "store-svc/domain/leases.h"
#include "store-svc/domain/mail_store.h"

namespace grpc {
class CallbackServerContext;
}  // namespace grpc

namespace postern::store {

// All of it outlives every call.
struct MaildropParts {
  MailStore* store;
  Leases* leases;
  const identity::TokenVerifier* verifier;
  // For reads.
  process::WorkerPool* pool;
  process::Clock clock;
};

// Who presents a token in which session: a digest over caller, nonce and token. A lease remembers
// it, so that a later call of the same session is known by comparing, without its expiry being
// looked at (docs/adr/0030) and without another signature check.
std::string Credential(const grpc::CallbackServerContext& context, absl::string_view token,
                       absl::string_view session_nonce);

// The mailbox that the token opens now; opened once, whatever its expiry says. UNAUTHENTICATED, the
// reason being logged.
enum class Expiry { kMinds, kMindsNot };
absl::StatusOr<MailboxId> VerifyToken(const MaildropParts& parts,
                                      const grpc::CallbackServerContext& context,
                                      absl::string_view token, absl::string_view session_nonce,
                                      Expiry expiry = Expiry::kMinds);

// What a call answers whose fence or credential was refused: a token that is no good at
// all is UNAUTHENTICATED before its fence is of interest.
absl::Status AnswerToRefused(const MaildropParts& parts, const grpc::CallbackServerContext& context,
                             absl::string_view token, absl::string_view session_nonce,
                             const absl::Status& refused);

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_RPC_MAILDROP_SESSION_H_
