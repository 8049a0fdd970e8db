#include "store-svc/rpc/delivery_stream.h"

#include <utility>

#include "services/rpc/context.h"
#include "store-svc/rpc/delivery_outcome.h"
#include "store-svc/rpc/delivery_request.h"

namespace postern::store {

DeliveryStream::DeliveryStream(MailStore* store, uint64_t max_message_octets, CallerSlots* slots,
                               std::string caller, grpc::CallbackServerContext* context,
                               v1::DeliverResponse* response)
    : store_(store),
      max_message_octets_(max_message_octets),
      slots_(slots),
      caller_(std::move(caller)),
      response_(response),
      call_(rpc::ReadCallContext(*context)) {
  StartRead(&request_);
}

DeliveryStream::~DeliveryStream() { slots_->Give(caller_); }

void DeliveryStream::OnReadDone(bool ok) {
  if (!ok) {
    FinishWith(absl::InvalidArgumentError("the stream ended before the body did"));
    return;
  }
  if (!has_header_) {
    if (absl::Status status = TakeHeader(); !status.ok()) {
      FinishWith(status);
    } else {
      StartRead(&request_);
    }
    return;
  }
  if (request_.part_case() == v1::DeliverStreamRequest::kBodyOctets) {
    TakeEnd();
    return;
  }
  absl::StatusOr<bool> storing = TakePiece();
  if (!storing.ok()) {
    FinishWith(storing.status());
  } else if (!*storing) {
    StartRead(&request_);
  }
}

absl::Status DeliveryStream::TakeHeader() {
  if (!request_.has_header()) return absl::InvalidArgumentError("the first part is the header");
  absl::StatusOr<Delivery> delivery = ParseDeliveryHeader(request_.header());
  if (!delivery.ok()) return delivery.status();
  delivery_ = *std::move(delivery);
  has_header_ = true;
  body_ = store_->StageBody(delivery_.recipients.front().mailbox);
  return absl::OkStatus();
}

absl::StatusOr<bool> DeliveryStream::TakePiece() {
  if (request_.part_case() != v1::DeliverStreamRequest::kChunk) {
    return absl::InvalidArgumentError("after the header come pieces and the end");
  }
  std::string& piece = *request_.mutable_chunk();
  if (piece.size() > kMaxPieceOctets) {
    return absl::InvalidArgumentError("a piece has at most 256 KiB");
  }
  octets_ += piece.size();
  if (octets_ > max_message_octets_) return absl::InvalidArgumentError("the message is too large");
  if (gathered_.empty()) {
    gathered_ = std::move(piece);
    return false;
  }
  if (gathered_.size() + piece.size() <= kMaxPieceOctets) {
    gathered_ += piece;
    return false;
  }
  std::string full = std::exchange(gathered_, std::move(piece));
  Append(std::move(full), /*then_deliver=*/false);
  return true;
}

void DeliveryStream::Append(std::string piece, bool then_deliver) {
  body_->Append(piece, [this, then_deliver](absl::Status status) {
    if (!status.ok()) {
      FinishWith(status);
    } else if (then_deliver) {
      Deliver();
    } else {
      StartRead(&request_);
    }
  });
}

void DeliveryStream::TakeEnd() {
  if (request_.body_octets() != octets_) {
    FinishWith(absl::InvalidArgumentError("body_octets is not what the pieces had"));
  } else if (!gathered_.empty()) {
    Append(std::exchange(gathered_, std::string()), /*then_deliver=*/true);
  } else {
    Deliver();
  }
}

void DeliveryStream::Deliver() {
  const size_t recipients = delivery_.recipients.size();
  body_->Deliver(std::move(delivery_), [this, recipients](absl::StatusOr<DeliveryResult> result) {
    if (result.ok()) response_->set_repeated_delivery(result->repeated);
    RecordDelivery(call_, result, recipients, octets_);
    Finish(rpc::ToGrpc(result.status()));
  });
}

void DeliveryStream::FinishWith(const absl::Status& status) {
  RecordDelivery(call_, status, delivery_.recipients.size(), octets_);
  Finish(rpc::ToGrpc(status));
}

}  // namespace postern::store
