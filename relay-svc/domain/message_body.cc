#include "relay-svc/domain/message_body.h"

#include <utility>

#include "services/async/await.h"

namespace postern::relay {

using boost::asio::awaitable;
using PieceOr = absl::StatusOr<std::shared_ptr<const std::string>>;

MessageBody::MessageBody(Spool* spool, const SpooledMessage& message)
    : spool_(spool), queue_id_(message.queue_id), octets_(message.octets) {}

awaitable<PieceOr> MessageBody::Piece(int64_t index) {
  absl::StatusOr<std::string> piece =
      co_await async::Await<absl::StatusOr<std::string>>([this, index](async::Done<std::string> d) {
        spool_->ReadPiece(queue_id_, index, std::move(d));
      });
  if (!piece.ok()) {
    if (absl::IsNotFound(piece.status())) {
      co_return absl::AbortedError("the message left the queue while it was read");
    }
    co_return piece.status();
  }
  co_return std::make_shared<const std::string>(*std::move(piece));
}

awaitable<PieceOr> MessageBody::FirstPiece() {
  if (first_ == nullptr) {
    PieceOr piece = co_await Piece(0);
    if (!piece.ok()) co_return piece.status();
    first_ = *std::move(piece);
  }
  co_return first_;
}

awaitable<PieceOr> MessageBody::Reader::Next() {
  if (octets_ >= body_->octets_) co_return nullptr;
  PieceOr piece;
  if (index_ == 0) {
    piece = co_await body_->FirstPiece();
  } else {
    piece = co_await body_->Piece(index_);
  }
  if (!piece.ok()) co_return piece.status();
  ++index_;
  octets_ += (*piece)->size();
  if ((*piece)->empty() || octets_ > body_->octets_) {
    co_return absl::InternalError("the spooled body is not as long as it should be");
  }
  co_return *std::move(piece);
}

}  // namespace postern::relay
