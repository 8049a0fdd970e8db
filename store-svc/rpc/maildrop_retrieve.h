// One Retrieve call.
#ifndef POSTERN_STORE_SVC_RPC_MAILDROP_RETRIEVE_H_
#define POSTERN_STORE_SVC_RPC_MAILDROP_RETRIEVE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "proto/postern/store/v1/maildrop.pb.h"
#include "store-svc/domain/top_cutter.h"
#include "store-svc/rpc/maildrop_session.h"

namespace postern::store {

// Deletes itself when the call is done. Holds one piece of the body: the next is read when gRPC
// took the last, so that a slow client's flow control holds up the reading.
class RetrieveStream final : public grpc::ServerWriteReactor<v1::RetrieveResponse> {
 public:
  RetrieveStream(const MaildropParts* parts, grpc::CallbackServerContext* context,
                 const v1::RetrieveRequest* request);

  void OnWriteDone(bool ok) override;
  void OnDone() override { delete this; }

 private:
  void Take(absl::StatusOr<MailboxId> mailbox);
  // On the pool.
  void ReadFirst();
  void ReadNext();
  void SubmitRead(void (RetrieveStream::*read)());
  // Sends what of it belongs to the answer, and ends the call when that is all.
  void Send(std::string piece);

  const MaildropParts& parts_;
  grpc::CallbackServerContext* const context_;
  const v1::RetrieveRequest* const request_;
  std::optional<MailboxId> mailbox_;
  std::optional<TopCutter> cutter_;

  v1::RetrieveResponse response_;
  // Read already, to be sent after `response_`.
  std::string pending_;
  std::string body_;
  int64_t next_piece_ = 1;
  // Prefix and body, not yet taken.
  uint64_t octets_left_ = 0;
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_RPC_MAILDROP_RETRIEVE_H_
