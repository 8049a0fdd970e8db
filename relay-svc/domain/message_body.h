// A spooled body, read piece by piece.
#ifndef POSTERN_RELAY_SVC_DOMAIN_MESSAGE_BODY_H_
#define POSTERN_RELAY_SVC_DOMAIN_MESSAGE_BODY_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "boost/asio/awaitable.hpp"
#include "relay-svc/domain/spool.h"

namespace postern::relay {

// Of one attempt, on one loop. Holds the first piece (the header, and all of a small message) and
// none of the others.
class MessageBody {
 public:
  MessageBody(Spool* spool, const SpooledMessage& message);

  // ABORTED: the message was deleted while it was read.
  boost::asio::awaitable<absl::StatusOr<std::shared_ptr<const std::string>>> FirstPiece();

  // Reads from the start, piece by piece. Exactly `octets()` octets come, or an error.
  class Reader {
   public:
    explicit Reader(MessageBody* body) : body_(body) {}
    // nullptr: the end.
    boost::asio::awaitable<absl::StatusOr<std::shared_ptr<const std::string>>> Next();

   private:
    MessageBody* body_;
    int64_t index_ = 0;
    uint64_t octets_ = 0;
  };

  uint64_t octets() const { return octets_; }

 private:
  boost::asio::awaitable<absl::StatusOr<std::shared_ptr<const std::string>>> Piece(int64_t index);

  Spool* spool_;
  std::string queue_id_;
  uint64_t octets_;
  std::shared_ptr<const std::string> first_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_MESSAGE_BODY_H_
