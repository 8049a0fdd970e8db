// One attempt to deliver one message to the recipients of one destination.
#ifndef POSTERN_RELAY_SVC_DOMAIN_DELIVERY_H_
#define POSTERN_RELAY_SVC_DOMAIN_DELIVERY_H_

#include <string>
#include <vector>

#include "boost/asio/awaitable.hpp"
#include "proto/postern/auth/v1/directory.pb.h"
#include "relay-svc/domain/message_body.h"
#include "relay-svc/domain/spool.h"

namespace postern::relay {

struct DeliveryResult {
  enum class Kind { kDelivered, kTemporary, kPermanent };
  Kind kind = Kind::kTemporary;
  // RFC 3463: "5.1.1". Empty when the other side gave none.
  std::string enhanced;
  // One line: the other side's answer, or our own words.
  std::string text;
  // `text` is an SMTP reply (RFC 3464 2.3.6: diagnostic-type smtp).
  bool is_reply = false;
  // The host that answered; empty when none did.
  std::string remote_mta;
  bool tls = false;
  // Of a recipient that leads to several mailboxes which fared differently: those that have no copy
  // yet, each to be decided for itself. The others have theirs.
  std::vector<DeliveryResult> members;
  // Of a member: its address.
  std::string address;
  // Of a recipient that leads elsewhere (too): where to, with the destination of each, and the
  // sender of what goes on.
  std::vector<NewMessage::Recipient> forwards;
  std::string forward_sender;
  // A part of the platform was not there (the store, the directory, the spool): nobody was asked
  // for the recipient, so that this is no attempt, and is done again soon.
  bool ours = false;

  static DeliveryResult Delivered(std::string text) {
    return {Kind::kDelivered, "2.0.0", std::move(text)};
  }
  static DeliveryResult Temporary(std::string enhanced, std::string text) {
    return {Kind::kTemporary, std::move(enhanced), std::move(text)};
  }
  static DeliveryResult Unavailable(std::string text) {
    DeliveryResult result = Temporary("4.3.0", std::move(text));
    result.ours = true;
    return result;
  }
  static DeliveryResult Permanent(std::string enhanced, std::string text) {
    return {Kind::kPermanent, std::move(enhanced), std::move(text)};
  }
};

struct DeliveryRecipient {
  std::string address;
  // Of a local recipient.
  std::vector<auth::v1::Mailbox> mailboxes;
  // It leads elsewhere too: a mailbox without a copy is decided for itself, be it the only one.
  bool forwarded = false;
};

// Runs on the queue runner's loop and must outlive every attempt.
class Deliverer {
 public:
  virtual ~Deliverer() = default;
  // One result per recipient, in their order. `destination` is a domain in A-labels, or
  // kLocalDestination. Ends in bounded time.
  virtual boost::asio::awaitable<std::vector<DeliveryResult>> Deliver(
      const SpooledMessage& message, const std::string& destination,
      const std::vector<DeliveryRecipient>& recipients, MessageBody& body) = 0;
  // Attempts end as soon as they can without leaving it open who has the message. On the loop.
  virtual void Stop() {}
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_DELIVERY_H_
