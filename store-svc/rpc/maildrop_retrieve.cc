#include "store-svc/rpc/maildrop_retrieve.h"

#include <utility>

#include "services/rpc/context.h"
#include "store-svc/rpc/store_metrics.h"

namespace postern::store {

RetrieveStream::RetrieveStream(const MaildropParts* parts, grpc::CallbackServerContext* context,
                               const v1::RetrieveRequest* request)
    : parts_(*parts), context_(context), request_(request) {
  if (request->has_body_lines()) cutter_.emplace(request->body_lines());
  parts_.leases->Find(
      request->fence(), Credential(*context, request->token(), request->session_nonce()),
      [&] {
        return VerifyToken(parts_, *context, request->token(), request->session_nonce(),
                           Expiry::kMindsNot);
      },
      [this](absl::StatusOr<MailboxId> mailbox) { Take(std::move(mailbox)); });
}

void RetrieveStream::Take(absl::StatusOr<MailboxId> mailbox) {
  if (!mailbox.ok()) {
    Finish(rpc::ToGrpc(AnswerToRefused(parts_, *context_, request_->token(),
                                       request_->session_nonce(), mailbox.status())));
    return;
  }
  mailbox_ = *std::move(mailbox);
  SubmitRead(&RetrieveStream::ReadFirst);
}

void RetrieveStream::SubmitRead(void (RetrieveStream::*read)()) {
  if (!parts_.pool->Submit([this, read] { (this->*read)(); })) {
    Finish(rpc::ToGrpc(absl::UnavailableError("too many reads wait")));
  }
}

void RetrieveStream::ReadFirst() {
  absl::StatusOr<StoredMessage> message = parts_.store->Read(*mailbox_, request_->uid());
  if (!message.ok()) {
    Finish(rpc::ToGrpc(message.status()));
    return;
  }
  octets_left_ = message->octets;
  body_ = std::move(message->body);
  std::string piece = std::move(message->prefix);
  if (piece.size() + message->first_piece.size() <= kMaxPieceOctets) {
    piece += message->first_piece;
  } else {
    pending_ = std::move(message->first_piece);
  }
  Send(std::move(piece));
}

void RetrieveStream::ReadNext() {
  absl::StatusOr<std::string> piece = parts_.store->ReadPiece(body_, next_piece_++);
  if (!piece.ok()) {
    // NOT_FOUND here: the mailbox was purged under the reader.
    Finish(rpc::ToGrpc(piece.status()));
    return;
  }
  Send(*std::move(piece));
}

void RetrieveStream::Send(std::string piece) {
  if (piece.size() > octets_left_) {
    Finish(rpc::ToGrpc(absl::DataLossError("a message is longer than its entry says")));
    return;
  }
  octets_left_ -= piece.size();
  bool last = octets_left_ == 0;
  if (cutter_.has_value()) {
    piece.resize(cutter_->Pass(piece));
    last = last || cutter_->done();
  }
  Metrics().retrieved_bytes.Add(static_cast<double>(piece.size()));
  *response_.mutable_chunk() = std::move(piece);
  if (last) {
    StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
  } else {
    StartWrite(&response_);
  }
}

void RetrieveStream::OnWriteDone(bool ok) {
  if (!ok) {
    Finish(rpc::ToGrpc(absl::CancelledError("the stream broke")));
  } else if (!pending_.empty()) {
    Send(std::exchange(pending_, std::string()));
  } else {
    SubmitRead(&RetrieveStream::ReadNext);
  }
}

}  // namespace postern::store
