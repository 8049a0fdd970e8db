// One DeliverStream call.
#ifndef POSTERN_STORE_SVC_RPC_DELIVERY_STREAM_H_
#define POSTERN_STORE_SVC_RPC_DELIVERY_STREAM_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "proto/postern/store/v1/delivery.pb.h"
#include "services/rpc/call_context.h"
#include "store-svc/domain/mail_store.h"
#include "store-svc/rpc/caller_slots.h"

namespace postern::store {

// Deletes itself when the call is done. Holds at most two pieces; the next is read when the last
// is stored.
class DeliveryStream final : public grpc::ServerReadReactor<v1::DeliverStreamRequest> {
 public:
  // Gives the slot that `caller` took at the end.
  DeliveryStream(MailStore* store, uint64_t max_message_octets, CallerSlots* slots,
                 std::string caller, grpc::CallbackServerContext* context,
                 v1::DeliverResponse* response);
  ~DeliveryStream() override;

  void OnReadDone(bool ok) override;
  void OnDone() override { delete this; }

 private:
  absl::Status TakeHeader();
  // True: a piece is on its way to the store, which reads on.
  absl::StatusOr<bool> TakePiece();
  void TakeEnd();
  void Append(std::string piece, bool then_deliver);
  void Deliver();
  void FinishWith(const absl::Status& status);

  MailStore* const store_;
  const uint64_t max_message_octets_;
  CallerSlots* const slots_;
  const std::string caller_;
  v1::DeliverResponse* const response_;
  const rpc::CallContext call_;
  v1::DeliverStreamRequest request_;
  Delivery delivery_;
  bool has_header_ = false;
  uint64_t octets_ = 0;
  // Received, not stored yet: small pieces become one of full size.
  std::string gathered_;
  std::unique_ptr<StagedBody> body_;
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_RPC_DELIVERY_STREAM_H_
