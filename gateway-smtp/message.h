// One message on its way from a client to the service that commits it.
#ifndef POSTERN_GATEWAY_SMTP_MESSAGE_H_
#define POSTERN_GATEWAY_SMTP_MESSAGE_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "boost/asio/awaitable.hpp"
#include "proto/postern/relay/v1/submission.pb.h"
#include "proto/postern/store/v1/delivery.pb.h"
#include "services/clients/relay_client.h"
#include "services/clients/store_client.h"
#include "services/net/connection.h"
#include "services/protocol/mail/header_editor.h"
#include "services/rpc/call_context.h"

namespace postern::gateway_smtp {

// Memory: at most one piece (256 KiB) here. A body that fits in one piece goes as one request; a
// longer one as a stream, whose writes wait for the service. Lives on the session's loop;
// destroying it before Commit was answered takes everything back. Once something has failed the
// rest is swallowed, and Commit says what it was.
class Message {
 public:
  virtual ~Message() = default;

  // Takes the octets if that needs no waiting; false, and nothing is taken, if it does.
  virtual bool TryAppend(absl::string_view octets) = 0;
  virtual boost::asio::awaitable<void> Append(absl::string_view octets) = 0;
  // OK, with the id for the client, once it is durable for every recipient.
  virtual boost::asio::awaitable<absl::StatusOr<std::string>> Commit() = 0;
  // So far, as they go on: the Received field included, and what is removed not.
  virtual uint64_t octets() const = 0;
};

struct MessageOptions {
  rpc::TraceContext trace;
  // In front of what Append gives.
  std::string received;
  // Of what Append gives.
  mail::HeaderEdits edits;
  // SIZE= of MAIL, or 0.
  uint64_t declared_octets = 0;
  // For each answer of the service.
  std::chrono::seconds timeout;
  // For a stream as a whole, whose pace is the client's.
  net::Deadline session_deadline;
};

// `client` outlives it.
std::unique_ptr<Message> NewDelivery(clients::DeliveryClient* client,
                                     store::v1::DeliveryHeader header, MessageOptions options);
std::unique_ptr<Message> NewSubmission(clients::SubmissionClient* client,
                                       relay::v1::EnqueueHeader header, MessageOptions options);

}  // namespace postern::gateway_smtp

#endif  // POSTERN_GATEWAY_SMTP_MESSAGE_H_
